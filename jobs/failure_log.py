"""Logs one line for each failed job, whichever part ended it: the ledger keeps the ids of failed jobs until they are logged."""

import logging
import secrets

import msgspec
from msgspec import Struct

from jobs.job import Metadata
from jobs.ledger import FailedJob, Ledger

log = logging.getLogger("mldeploy.failures")

MAX_READ = 200  # jobs in one call
MAX_DETAIL = 1000  # characters


class _Error(Struct):
    type: str = ""
    detail: str = ""


class FailureLog:
    """To be used by a process that runs as long as the service does."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reader = secrets.token_hex(4)
        self._logged = False  # whether the last jobs read are logged, but not yet deleted in the ledger

    def round(self) -> None:
        """Log all jobs that are to be logged. Raises LedgerUnavailable."""
        more = True
        while more:
            if self._logged:
                self._ledger.forget_failed(self._reader)
                self._logged = False
            dropped, jobs = self._ledger.failed(self._reader, MAX_READ)
            if dropped:
                log.warning("%d more jobs have failed while nobody logged them: GET /jobs?status=failed has them", dropped)
            for job in jobs:
                log.warning("%s", failure_line(job))
            self._logged = more = bool(jobs)


def failure_line(job: FailedJob) -> str:
    """The log line of a failed job. The detail comes last and is cut to MAX_DETAIL characters."""
    model, _, version = job.group.rpartition("/")
    error = msgspec.json.decode(job.error, type=_Error) if job.error else _Error(detail="its record has been forgotten")
    trace = msgspec.json.decode(job.metadata, type=Metadata).trace if job.metadata else ""
    traced = f" traceparent={trace}" if trace else ""
    fields = f"kind={job.kind} model={model} version={version} error={error.type}"
    return f"job {job.id} failed: {fields}{traced} detail={error.detail[:MAX_DETAIL]}"
