"""Watches whether the broker answers, where it is not the ledger's own Redis."""

import threading
import time

from celery import Celery

CHECK_INTERVAL = 2.0  # seconds
MAX_MISSED = 2  # failed checks in a row; a single one may be a restart of the broker


class BrokerWatch:
    """Checks in its own thread, because it may take seconds to notice that a broker is down."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._missed = 0
        self.failure = ""  # why the broker does not answer; empty while it does

    def start(self) -> None:
        threading.Thread(target=self._watch, name="broker-watch", daemon=True).start()

    def check(self) -> None:
        try:
            with self._celery.connection_for_write() as connection:
                connection.connect()
        except Exception as error:  # noqa: BLE001 - each broker's library raises its own
            self._missed += 1
            if self._missed >= MAX_MISSED:
                self.failure = f"{type(error).__name__}: {error}"
        else:
            self._missed, self.failure = 0, ""

    def _watch(self) -> None:
        while True:
            self.check()
            time.sleep(CHECK_INTERVAL)
