"""Load, and the oracle outside Redis: the client's own log of every 202, and the expected results."""

import hashlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from jobs import codec
from tests.poison import expected, row
from tests.processes import Pieces

RATE = 30.0  # jobs a second
SLOWEST_REFUSAL = 3.0  # seconds
READER = requests.Session()  # keeps its connection: reading thousands of results is not what is measured


@dataclass
class Submitted:
    job_id: str
    number: int
    deed: str


@dataclass
class Load:
    """Submits from a thread of its own until stopped."""

    url: str
    seconds: float = 0.0  # that each prediction takes
    deeds: dict[int, str] = field(default_factory=dict)
    accepted: list[Submitted] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._submit_all, daemon=True)
        self._number = 0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def backlog(self, jobs: int) -> "Load":
        """Submit this many jobs before the load begins."""
        for _ in range(jobs):
            self.submit()
        return self

    def submit(self, deed: str = "work") -> None:
        self._number += 1
        number, since = self._number, time.monotonic()
        deed = self.deeds.get(number, deed)
        try:
            answer = requests.post(f"{self.url}/predict?model=poison", json=row(number, deed, self.seconds), timeout=20)
        except requests.RequestException as error:
            self.refused[type(error).__name__] += 1
            return
        finally:
            self.slowest = max(self.slowest, time.monotonic() - since)
        if answer.status_code == 202:
            self.accepted.append(Submitted(answer.json()["id"], number, deed))
        else:
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"]
            self.refused["503"] += 1

    def _submit_all(self) -> None:
        while not self._over.is_set():
            since = time.monotonic()
            self.submit()
            self._over.wait(max(0.0, random.expovariate(RATE) - (time.monotonic() - since)))


def read(url: str, job_id: str) -> tuple[str, dict[str, Any]]:
    """Return a hash of the body and the body; retries for 20 s while the API or its Redis is away."""
    deadline = time.monotonic() + 20
    while True:
        try:
            answer = READER.get(f"{url}/result/{job_id}", timeout=20)
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
        else:
            if answer.status_code != 503 or time.monotonic() > deadline:
                return hashlib.sha256(answer.content).hexdigest(), answer.json()
        time.sleep(0.2)


def settle(load: Load, within: float, poisoned: bool = False) -> float:
    """Wait until every accepted job is final, and compare it with the oracle. Returns the seconds it took."""
    since, left, hashes = time.monotonic(), list(load.accepted), dict[str, str]()
    while left and time.monotonic() - since < within:
        still = []
        for job in left:
            digest, body = read(load.url, job.job_id)
            if body.get("status") in ("queued", "running"):
                still.append(job)
            else:
                hashes[job.job_id] = digest
                check(job, body, poisoned)
        left = still
        time.sleep(0.1 if left else 0)
    took = time.monotonic() - since
    unfinished = [read(load.url, job.job_id)[1] for job in left[:3]]
    assert not left, f"{len(left)} of {len(load.accepted)} jobs have not ended after {within:g} s: {unfinished}"
    for job_id, digest in hashes.items():
        assert read(load.url, job_id)[0] == digest, "a final answer has changed"
    return took


def check(job: Submitted, body: dict[str, Any], poisoned: bool) -> None:
    if job.deed == "work":
        assert body["status"] == "succeeded", body
        assert body["result"]["prediction"] == expected(job.number)
        assert body["result"]["input"]["number"] == job.number
    else:
        assert poisoned
        assert body["status"] == "failed", body


def executed(pieces: Pieces) -> Counter[int]:
    """Count the executions of each number, without 0, on which a worker tries a model before it serves."""
    done = Counter(map(int, (pieces.folder / "poison-executions.log").read_text().split()))
    del done[0]
    return done


class Announcements:
    """Counts on the push channel how often each job became final."""

    def __init__(self, ledger: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._channel = ledger.redis.pubsub()
        self._channel.subscribe(ledger.finals_channel)

    def drain(self) -> Counter[str]:
        while (message := self._channel.get_message(timeout=0.2)) is not None:
            if message["type"] == "message":
                self.counts.update(job_id for job_id, _ in codec.pushed(message["data"]))
        return self.counts

    def close(self) -> None:
        self._channel.close()
