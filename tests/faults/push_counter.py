"""Counts on the push channel how often each job became final, across outages of Redis."""

import threading
import time
from collections import Counter

import redis

from jobs import codec
from jobs.ledger import Ledger
from jobs.redis_connection import UNREACHABLE

POLL = 0.1  # seconds
PAUSE = 0.2  # seconds before the channel is made anew


class PushCounter:
    """``counts``: by job id; pushes lost with a connection are not counted. Use as a context manager."""

    def __init__(self, ledger: Ledger) -> None:
        self.counts: Counter[str] = Counter()
        self.ended_at: dict[str, float] = {}  # on the monotonic clock
        self.states: Counter[str] = Counter()  # of small records, which are pushed whole
        self._ledger = ledger
        self._over = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._count_all, daemon=True)

    def __enter__(self) -> "PushCounter":
        self._thread.start()
        assert self._listens.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    @property
    def twice(self) -> dict[str, int]:
        """Return the jobs that became final more than once."""
        return {job_id: count for job_id, count in self.counts.copy().items() if count > 1}

    def _count_all(self) -> None:
        while not self._over.is_set():
            channel = self._ledger.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            try:
                channel.subscribe(self._ledger.finals_channel)
                self._listens.set()
                self._count(channel)
            except UNREACHABLE:
                self._over.wait(PAUSE)
            finally:
                channel.close()

    def _count(self, channel: redis.client.PubSub) -> None:
        while not self._over.is_set():
            message = channel.get_message(timeout=POLL)
            if message:
                for job_id, record in codec.pushed(message["data"]):
                    self.counts[job_id] += 1
                    self.ended_at.setdefault(job_id, time.monotonic())
                    self.states[str(record.state) if record else "unknown"] += 1
