"""One line in the log for each job that fails, whichever part ends it: the ledger keeps their ids until they are logged."""

import logging
import secrets

import msgspec
from msgspec import Struct

from jobs.job import Metadata
from jobs.ledger import FailedJob, Ledger

log = logging.getLogger("mldeploy.failures")

AT_ONCE = 200
MAX_DETAIL = 1000


class _Error(Struct):
    type: str = ""
    detail: str = ""


class FailureLog:
    """For a process that runs as long as the service does."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reader = secrets.token_hex(4)
        self._logged = False  # what was read last, and the ledger has not heard it

    def round(self) -> None:
        """Logs all that wait. Raises LedgerUnavailable."""
        more = True
        while more:
            if self._logged:
                self._ledger.forget_failed(self._reader)
                self._logged = False
            left_out, jobs = self._ledger.failed(self._reader, AT_ONCE)
            if left_out:
                log.warning("%d more jobs have failed while nobody logged them: GET /jobs?status=failed has them", left_out)
            for job in jobs:
                log.warning("%s", failure_line(job))
            self._logged = more = bool(jobs)


def failure_line(job: FailedJob) -> str:
    """Its detail is last, and of bounded length."""
    model, _, version = job.group.rpartition("/")
    error = msgspec.json.decode(job.error, type=_Error) if job.error else _Error(detail="its record has been forgotten")
    trace = msgspec.json.decode(job.more, type=Metadata).trace if job.more else ""
    traced = f" traceparent={trace}" if trace else ""
    known = f"kind={job.kind} model={model} version={version} error={error.type}"
    return f"job {job.id} failed: {known}{traced} detail={error.detail[:MAX_DETAIL]}"
