"""Clients that submit at a fixed rate, each submission under one Idempotency-Key until it is accepted, and their log."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import urllib3

from mldeploy.client import Client
from tests.faults.load import Submitted
from tests.poison import row

PAUSE = 0.5  # seconds before a submission is sent again
BUSY = (429, 503)


@dataclass
class Submission:
    """``job_id``: of the 202; empty before. ``unclear``: failed attempts that may have been accepted."""

    number: int
    job_id: str = ""
    attempts: int = 0
    unclear: int = 0
    seconds: float = 0.0  # of the attempt that was accepted …
    accepted_at: float = 0.0  # … and when, on the monotonic clock


@dataclass
class Submitters:
    """``rate``: submissions a second; where the service is slower, the clients fall behind and catch up.

    ``patience``: seconds until a submission is abandoned. ``timeout``: seconds of one attempt. ``job_seconds``: duration of
    each prediction. ``limit``: number of submissions, numbered from ``first`` on. ``accepted``: called with each 202 in the
    client's thread. Use as a context manager.
    """

    url: str
    rate: float
    clients: int = 8
    patience: float = 30.0
    timeout: float = 5.0
    job_seconds: float = 0.0
    limit: int = 1_000_000
    first: int = 1
    accepted: Callable[[Submission], None] = lambda _: None
    answers: Counter[str] = field(default_factory=Counter)
    log: list[Submission] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._numbers = count(self.first)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._submit_all, daemon=True) for _ in range(self.clients)]
        self._failures: list[BaseException] = []

    def __enter__(self) -> "Submitters":
        self._pool = urllib3.connection_from_url(self.url, maxsize=self.clients, timeout=self.timeout)
        self._since = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._pool.close()

    def join(self) -> None:
        """Wait until all submissions are accepted or abandoned. Raises the unexpected errors of the clients."""
        for thread in self._threads:
            thread.join()
        for failure in self._failures:
            raise failure

    @property
    def jobs(self) -> list[Submitted]:
        """Return every submission that got a 202."""
        return [Submitted(each.job_id, each.number, "work") for each in list(self.log) if each.job_id]

    @property
    def abandoned(self) -> list[Submission]:
        return [each for each in list(self.log) if not each.job_id]

    def _submit_all(self) -> None:
        try:
            while not self._over.is_set():
                with self._lock:
                    number = next(self._numbers)
                place = number - self.first + 1
                if place > self.limit or self._over.wait(max(0.0, self._since + place / self.rate - time.monotonic())):
                    return
                submission = Submission(number)
                self.log.append(submission)
                self._submit(submission)
        except BaseException as failure:  # noqa: BLE001 - raised in the test's thread
            self._failures.append(failure)

    def _submit(self, submission: Submission) -> None:
        deadline = time.monotonic() + self.patience
        while not self._is_accepted(submission) and time.monotonic() < deadline:
            time.sleep(PAUSE)

    def _is_accepted(self, submission: Submission) -> bool:
        number, since = submission.number, time.monotonic()
        submission.attempts += 1
        try:
            answer = self._pool.request(
                "POST",
                f"/predict?model=poison&label={number}",
                body=json.dumps(row(number, seconds=self.job_seconds)),
                headers={"Content-Type": "application/json", "Idempotency-Key": f"number-{number}"},
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            self.answers[type(error).__name__] += 1
            submission.unclear += not isinstance(error, urllib3.exceptions.NewConnectionError)
            return False
        self.answers[str(answer.status)] += 1
        if answer.status == 202:
            submission.accepted_at = time.monotonic()
            submission.job_id, submission.seconds = answer.json()["id"], submission.accepted_at - since
            self.accepted(submission)
            return True
        assert answer.status in BUSY, (answer.status, answer.data)
        assert answer.headers["Retry-After"]
        submission.unclear += answer.status == 503
        return False


def assert_one_job_each(url: str, clients: Submitters) -> int:
    """Check that each Idempotency-Key is one job. Returns how many abandoned submissions were accepted all the same."""
    found = Counter((int(job.label), job.id) for job in Client(url).jobs(model="poison") if job.label)
    numbers = Counter(number for number, _ in found)
    assert max(numbers.values(), default=1) == 1, [number for number, jobs in numbers.items() if jobs > 1]
    accepted = {(each.number, each.job_id) for each in clients.log if each.job_id}
    assert accepted <= set(found), "an accepted job is not listed"
    beyond = {number for number, _ in set(found) - accepted}
    assert beyond <= {each.number for each in clients.abandoned if each.unclear}
    return len(beyond)
