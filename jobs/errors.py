"""What can go wrong with the ledger. No HTTP status in here: the API's table maps them."""


class LedgerError(Exception):
    """Something went wrong with the ledger."""


class LedgerUnavailable(LedgerError):
    """Redis did not answer in time. What was sent may or may not have happened."""


class LedgerFull(LedgerError):
    """Redis is near its memory or disk limit, so nothing more is accepted. ``retry_after``: seconds."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class JobTooLarge(LedgerError):
    """The job with its result could take more of Redis's memory than one job may."""


class NoRoom(LedgerError):
    """Redis has no room for what a job's end was to change; nothing was done."""


class LaneFull(LedgerError):
    """As many jobs, rows or bytes wait in this lane as may. ``retry_after``: seconds until there is likely to be room."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(LedgerError):
    """The Idempotency-Key was used for another request."""


class AfterFailed(LedgerError):
    """The job that this one was to wait for has failed, or is gone."""


class PreconditionFailed(LedgerError):
    """What the job was accepted to rest on has changed: look again, and submit it anew."""


class EffectConflict(LedgerError):
    """A value that a job's end was to change has changed meanwhile; nothing was done."""


class UnsafeRedis(LedgerError):
    """This Redis may forget accepted jobs; the message says which setting to change."""
