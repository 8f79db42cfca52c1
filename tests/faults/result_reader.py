"""Reads the result of every accepted job, compares it with the oracle, and reads it once more later."""

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

AT_ONCE = 100  # ids in one request
FIRST_LOOK = 0.3  # seconds after it was accepted
LOOK_AGAIN = 1.0  # seconds, while it has not ended or cannot be read
OPEN = ("queued", "running")


@dataclass(order=True)
class _Look:
    due: float
    number: int
    job_id: str = field(compare=False)
    digest: str = field(default="", compare=False)  # of the body that was read when it had ended


class ResultReader:
    """``keep``: seconds that results are kept; each is read again after a third of that. Use as a context manager."""

    def __init__(self, url: str, keep: float) -> None:
        self.ended = set[str]()  # ids
        self.forgotten = set[str]()  # before they were read
        self.wrong: list[dict[str, Any]] = []
        self.changed: list[str] = []
        self.read_twice = 0
        self._url = url
        self._again_after = keep / 3
        self._looks: list[_Look] = []
        self._in_hand = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_all, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> "ResultReader":
        self._pool = urllib3.connection_from_url(self._url, timeout=10)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)
        self._pool.close()
        if self._failure:
            raise self._failure

    def expect(self, submission: Submission) -> None:
        self._look_later(_Look(0.0, submission.number, submission.job_id), FIRST_LOOK)

    @property
    def left(self) -> int:
        """Return the jobs that are still to be read, once or twice."""
        return len(self._looks) + self._in_hand

    def _read_all(self) -> None:
        try:
            while not self._over.is_set():
                looks = self._due()
                if looks:
                    self._read(looks)
                else:
                    self._over.wait(0.05)
        except BaseException as failure:  # noqa: BLE001 - raised in the test's thread
            self._failure = failure

    def _due(self) -> dict[str, _Look]:
        looks, now = dict[str, _Look](), time.monotonic()
        with self._lock:
            while self._looks and self._looks[0].due <= now and len(looks) < AT_ONCE:
                look = heapq.heappop(self._looks)
                looks[look.job_id] = look
            self._in_hand = len(looks)
        return looks

    def _read(self, looks: dict[str, _Look]) -> None:
        try:
            answer = self._pool.request("GET", f"/jobs?id={','.join(looks)}", retries=False)
        except urllib3.exceptions.HTTPError:
            answer = None
        if answer is None or answer.status == 503:
            for look in looks.values():
                self._look_later(look, LOOK_AGAIN)
            return
        assert answer.status == 200, (answer.status, answer.data)
        found = msgspec.json.decode(answer.data)
        assert not found["unknown"]
        for body in found["jobs"]:
            self._found(looks.pop(body["id"]), body)
        for job_id, look in looks.items():
            assert job_id in found["forgotten"]
            self.forgotten |= set() if look.digest else {job_id}

    def _found(self, look: _Look, body: dict[str, Any]) -> None:
        digest = hashlib.sha256(msgspec.json.encode(body)).hexdigest()
        if look.digest:
            self.read_twice += 1
            self.changed += [look.job_id] if digest != look.digest else []
        elif body["status"] in OPEN:
            self._look_later(look, LOOK_AGAIN)
        else:
            self.ended.add(look.job_id)
            self.wrong += [] if is_right(look.number, body) else [body]
            look.digest = digest
            self._look_later(look, self._again_after)

    def _look_later(self, look: _Look, seconds: float) -> None:
        look.due = time.monotonic() + seconds
        with self._lock:
            heapq.heappush(self._looks, look)


def is_right(number: int, body: dict[str, Any]) -> bool:
    if body["status"] != "succeeded" or body["label"] != str(number):
        return False
    return bool(body["result"]["prediction"] == expected(number) and body["result"]["input"]["number"] == number)
