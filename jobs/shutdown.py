"""Shutdown by a signal: the signal handler sets a flag, and the program's loop checks it.

This is no threading.Event: a signal handler runs in the main thread, which may hold the event's lock at that moment, and
setting the event would then deadlock.
"""

import signal
import time
from typing import Any


class ShutdownSignal:
    def __init__(self) -> None:
        self._is_set = False

    def on(self, *numbers: signal.Signals) -> None:
        """Install the handler for these signals."""
        for number in numbers:
            signal.signal(number, self._set)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds`` unless a signal has arrived already. Returns whether one has arrived by then."""
        if not self._is_set:
            time.sleep(seconds)
        return self._is_set

    def _set(self, *_: Any) -> None:
        self._is_set = True
