"""The last step of every submission: into the ledger, ring, and answer 202 or, if the client prefers to wait, the result."""

from collections.abc import Sequence
from contextlib import suppress

from flask import Response

from api import answers
from api.body import preferred_wait
from api.service import service
from jobs.errors import LedgerError, LedgerUnavailable
from jobs.job import Job
from jobs.ledger import Accepted


def submit(*jobs: Job) -> Response:
    """Accept the jobs and answer for the last one. Raises what the ledger says of any of them."""
    return respond(jobs[-1], accept(jobs)[-1])


def accept(jobs: Sequence[Job]) -> list[Accepted]:
    """After this the jobs are safe; ringing for them neither delays the answer nor can fail it."""
    outcomes, rings = service().ledger.add(jobs)
    service().bell.ring(rings)
    for outcome in outcomes:
        if isinstance(outcome, LedgerError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Accepted)]


def respond(job: Job, accepted: Accepted) -> Response:
    seconds = preferred_wait(service().settings.max_wait)
    if not seconds:
        return answers.accepted(job, accepted.created_at, accepted.state)
    record = None
    with service().waiters.place() as may_wait, suppress(LedgerUnavailable):  # accepted it is, whatever comes now
        record = service().waiters.wait(job.id, seconds) if may_wait else None
    if record is None:
        return answers.accepted(job, accepted.created_at, accepted.state)
    answer = answers.of_record(record)
    answer.headers["Preference-Applied"] = f"wait={seconds:.0f}"
    return answer
