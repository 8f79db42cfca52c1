"""The last step of every submission: into the ledger, and answer 202 or, if the client prefers to wait, the result."""

import asyncio
from contextlib import nullcontext, suppress

from api import answers
from api.body import preferred_wait
from api.exchange import Answer, exchange, service
from jobs.errors import LedgerUnavailable
from jobs.job import Job, Record
from jobs.replies import Accepted
from jobs.waiters import Final


async def submit(*jobs: Job) -> Answer:
    """Accept the jobs and answer for the last one. Raises what the ledger says of any of them."""
    here, job = service(), jobs[-1]
    seconds = preferred_wait(here.settings.max_wait)
    with here.waiters.registered(job.id, seconds) if seconds else nullcontext() as final:
        committed = here.committer.add(*jobs)
        turn = exchange().turn
        if turn:
            committed.add_done_callback(lambda _: turn.end())
        record = await _end_of(job, committed, final) if final else None
    if record is None:
        accepted = await committed
        return answers.accepted(job, accepted.created_at, accepted.state)
    return answers.of_record(record, ("Preference-Applied", f"wait={seconds:.0f}"))


async def _end_of(job: Job, committed: "asyncio.Future[Accepted]", final: Final) -> Record | None:
    """The job's record when it is final, or at the end of the wait if it can be read then: accepted it is, whatever comes."""

    def ends_the_wait(commit: "asyncio.Future[Accepted]") -> None:
        error = commit.exception()
        if error and not final.done():
            final.set_exception(error)

    committed.add_done_callback(ends_the_wait)
    record = await final
    if record is None and committed.done():
        with suppress(LedgerUnavailable):
            return await service().waiters.read(job.id)
    return record
