"""The error of a failed job: a type that code can branch on, and a detail for people."""

from jobs.failures import Failure
from jobs.job import ClaimedJob, Outcome, State

MAX_DETAIL = 1000  # characters


def failed(job: ClaimedJob, type_: str, detail: str) -> Outcome:
    printable = "".join(letter if letter.isprintable() else " " for letter in detail)
    return Outcome(job, State.FAILED, Failure(type_, printable[:MAX_DETAIL]).to_json())


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
