"""Clients that wait for a job to end: one push wakes all of them, nobody polls Redis."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from jobs.connection import UNREACHABLE, connect
from jobs.errors import LedgerUnavailable
from jobs.job import Record
from jobs.ledger import Ledger

log = logging.getLogger("mldeploy.waiters")

HEARTBEAT = 3.0  # seconds; a channel silent for twice as long is cut and made anew


class Waiters:
    """Wakes the threads that wait for a final state. One per process; it listens from the first waiter on."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger = ledger
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._events: dict[str, list[threading.Event]] = {}
        self._listener: threading.Thread | None = None

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether this thread may wait; there are only so many places."""
        taken = self._places.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._places.release()

    def wait(self, job_id: str, seconds: float) -> Record | None:
        """The job's record, final if it ended within ``seconds``. Registers first and then reads, so no end is missed.

        Raises LedgerUnavailable if it cannot be read at the end of the wait.
        """
        deadline = time.monotonic() + seconds
        with self._registered(job_id) as event:
            while True:
                event.clear()
                last = time.monotonic() >= deadline  # read once more at the end: the push may have been lost
                record = self._read(job_id, deadline)
                if record is None or record.state.final or last:
                    return record
                event.wait(max(0.0, deadline - time.monotonic()))

    def _read(self, job_id: str, deadline: float) -> Record | None:
        """An outage in mid-wait is waited out; at the end of the wait it is an error."""
        while True:
            try:
                return self._ledger.get(job_id)
            except LedgerUnavailable:
                if time.monotonic() + 1.0 > deadline:
                    raise
                threading.Event().wait(0.5)

    @contextmanager
    def _registered(self, job_id: str) -> Iterator[threading.Event]:
        event = threading.Event()
        with self._lock:
            self._events.setdefault(job_id, []).append(event)
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="finals", daemon=True)
                self._listener.start()
        try:
            yield event
        finally:
            with self._lock:
                self._events[job_id].remove(event)
                if not self._events[job_id]:
                    del self._events[job_id]

    def _listen(self) -> None:
        client = connect(self._ledger.settings)
        while True:
            try:
                self._follow(client)
            except UNREACHABLE as error:
                log.warning("the push channel was cut: %s", error)
            except Exception:
                log.exception("the push channel failed")
            time.sleep(0.2)

    def _follow(self, client: redis.Redis) -> None:
        with client.pubsub() as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(self._ledger.finals_channel)
            heard = time.monotonic()
            while True:
                message = channel.get_message(timeout=HEARTBEAT)
                if message is not None:
                    heard = time.monotonic()
                elif time.monotonic() - heard > 2 * HEARTBEAT:
                    raise redis.ConnectionError("no answer to a ping")
                else:
                    channel.ping()
                    continue
                if message["type"] == "subscribe":
                    self._wake_all()  # whatever ended before this was not heard
                elif message["type"] == "message":
                    self._wake(message["data"].decode().split())

    def _wake(self, job_ids: list[str]) -> None:
        with self._lock:
            for job_id in job_ids:
                for event in self._events.get(job_id, ()):
                    event.set()

    def _wake_all(self) -> None:
        with self._lock:
            for events in self._events.values():
                for event in events:
                    event.set()
