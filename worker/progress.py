"""Reports a job's progress to the ledger, at most twice a second and whenever the stage changes."""

import time

from msgspec import json

from jobs.errors import LedgerError
from jobs.job import ClaimedJob
from jobs.ledger import Ledger
from jobs.resource import Step

REPORT_INTERVAL = 0.5  # seconds


class Progress:
    """A callback that takes the steps done, their total and the stage. A report that fails is ignored: the job goes on."""

    def __init__(self, ledger: Ledger, owner: str, job: ClaimedJob) -> None:
        self._ledger = ledger
        self._owner = owner
        self._job = job
        self._stage = ""
        self._next = 0.0

    def __call__(self, done: int, total: int, stage: str) -> None:
        if stage == self._stage and time.monotonic() < self._next:
            return
        self._stage, self._next = stage, time.monotonic() + REPORT_INTERVAL
        try:
            self._ledger.report(self._owner, self._job, json.encode(Step(done, total, stage)))
        except LedgerError:
            return
