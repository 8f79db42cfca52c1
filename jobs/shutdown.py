"""When a program is to stop: told by a signal, looked at by a loop.

No threading.Event: its lock is not for signal handlers, which run in the very thread that may be holding it, for ever then.
"""

import signal
import time
from typing import Any


class Stop:
    def __init__(self) -> None:
        self._told = False

    def on(self, *numbers: signal.Signals) -> None:
        for number in numbers:
            signal.signal(number, self._tell)

    def is_set(self) -> bool:
        return self._told

    def wait(self, seconds: float) -> bool:
        """Whether it is to stop, now or within so many seconds."""
        if not self._told:
            time.sleep(seconds)
        return self._told

    def _tell(self, *_: Any) -> None:
        self._told = True
