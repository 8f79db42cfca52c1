"""Whether the broker answers, where it is not the ledger's own Redis."""

import threading
import time

from celery import Celery

INTERVAL = 2.0  # seconds between two looks
MISSED = 2  # looks in a row: one may meet a broker that is being restarted


class BrokerWatch:
    """Looks in a thread of its own, for a broker that is gone may take seconds to show it."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._missed = 0
        self.failure = ""  # why it does not answer; empty while it does

    def start(self) -> None:
        threading.Thread(target=self._watch, name="broker-watch", daemon=True).start()

    def look(self) -> None:
        try:
            with self._celery.connection_for_write() as connection:
                connection.connect()
        except Exception as error:  # noqa: BLE001 - each broker's library has its own
            self._missed += 1
            if self._missed >= MISSED:
                self.failure = f"{type(error).__name__}: {error}"
        else:
            self._missed, self.failure = 0, ""

    def _watch(self) -> None:
        while True:
            self.look()
            time.sleep(INTERVAL)
