"""The ledger's errors. The API maps them to HTTP statuses."""


class LedgerError(Exception):
    """Base class of the ledger's errors."""


class LedgerUnavailable(LedgerError):
    """Redis did not answer in time. The command may or may not have been executed."""


class LedgerFull(LedgerError):
    """Redis is near its memory or disk limit, so no jobs are accepted. ``retry_after``: seconds."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class JobTooLarge(LedgerError):
    """The job with its result could exceed the memory limit of one job."""


class NoRoom(LedgerError):
    """Redis has no room for the changes at a job's end; nothing was changed."""


class LaneFull(LedgerError):
    """This lane has its maximum of jobs, rows or bytes. ``retry_after``: seconds until it is likely to have room."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(LedgerError):
    """The Idempotency-Key was used for another request."""


class AfterFailed(LedgerError):
    """The job that this one depends on has failed, or does not exist any more."""


class PreconditionFailed(LedgerError):
    """A value that the job depends on has changed: read it again, and submit the job again."""


class ChangesRejected(LedgerError):
    """A value that a job's end should change has changed in the meantime; nothing was changed."""


class UnsafeRedis(LedgerError):
    """This Redis may lose accepted jobs; the message names the setting to change."""
