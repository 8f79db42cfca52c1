"""Reads the result of every job that was accepted, holds it against the oracle, and reads it once more later on."""

import hashlib
import heapq
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import urllib3

from tests.faults.submitters import Submission
from tests.poison import expected

READERS = 3
FIRST_LOOK = 0.3  # seconds after it was accepted
LOOK_AGAIN = 1.0  # seconds, while it has not ended or cannot be read
OPEN = ("queued", "running")


@dataclass(order=True)
class _Look:
    due: float
    number: int
    job_id: str = field(compare=False)
    accepted: float = field(compare=False)
    digest: str = field(default="", compare=False)  # of the body that was read when it had ended


class ResultReader:
    """``keep``: seconds that results stay; each is read again after a third of that. Use as a context manager."""

    def __init__(self, url: str, keep: float) -> None:
        self.ended = 0
        self.read_twice = 0
        self.slowest = 0.0  # seconds from 202 to the first look that found it final
        self.wrong: list[dict[str, Any]] = []
        self.changed: list[str] = []
        self.forgotten: list[str] = []  # before anybody could read them
        self._url = url
        self._again_after = keep / 3
        self._looks: list[_Look] = []
        self._unread = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._read_all, daemon=True) for _ in range(READERS)]

    def __enter__(self) -> "ResultReader":
        self._pool = urllib3.connection_from_url(self._url, maxsize=READERS, timeout=10)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        self._pool.close()

    def expect(self, submission: Submission) -> None:
        now = time.monotonic()
        with self._lock:
            self._unread += 1
            heapq.heappush(self._looks, _Look(now + FIRST_LOOK, submission.number, submission.job_id, now))

    @property
    def unread(self) -> int:
        """Jobs that nobody has seen in a final state yet."""
        return self._unread

    @property
    def left(self) -> int:
        """Jobs that are still to be read once or twice."""
        return len(self._looks)

    def _read_all(self) -> None:
        while not self._over.is_set():
            look = self._next()
            if look is None:
                self._over.wait(0.02)
            else:
                self._read(look)

    def _next(self) -> _Look | None:
        with self._lock:
            due = self._looks and self._looks[0].due <= time.monotonic()
            return heapq.heappop(self._looks) if due else None

    def _read(self, look: _Look) -> None:
        try:
            answer = self._pool.request("GET", f"/result/{look.job_id}", retries=False)
        except urllib3.exceptions.HTTPError:
            return self._later(look, LOOK_AGAIN)
        if answer.status in (200, 202):
            return self._found(look, answer.data)
        if answer.status in (404, 410):
            return self._is_gone(look)
        assert answer.status == 503, (answer.status, answer.data)
        return self._later(look, LOOK_AGAIN)

    def _found(self, look: _Look, data: bytes) -> None:
        digest, body = hashlib.sha256(data).hexdigest(), msgspec.json.decode(data)
        if look.digest:
            with self._lock:
                self.read_twice += 1
                self.changed += [look.job_id] if digest != look.digest else []
        elif body["status"] in OPEN:
            self._later(look, LOOK_AGAIN)
        else:
            self._check(look, body)
            look.digest = digest
            self._later(look, self._again_after)

    def _check(self, look: _Look, body: dict[str, Any]) -> None:
        right = body["status"] == "succeeded" and body["result"]["prediction"] == expected(look.number)
        with self._lock:
            self.ended += 1
            self._unread -= 1
            self.slowest = max(self.slowest, time.monotonic() - look.accepted)
            self.wrong += [] if right and body["label"] == str(look.number) else [body]

    def _is_gone(self, look: _Look) -> None:
        with self._lock:
            self.forgotten += [] if look.digest else [look.job_id]
            self._unread -= not look.digest

    def _later(self, look: _Look, seconds: float) -> None:
        look.due = time.monotonic() + seconds
        with self._lock:
            heapq.heappush(self._looks, look)
