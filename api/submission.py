"""The last step of every submission: into the ledger, and answer 202 or, if the client prefers to wait, the result."""

import asyncio
from contextlib import nullcontext, suppress

from api.http import responses
from api.http.context import api_context, service
from api.http.idempotency import replay
from api.http.prefer import preferred
from api.server.response import Response
from jobs.codec import Accepted
from jobs.errors import LedgerUnavailable
from jobs.job import Job, Record
from jobs.waiters import Final


async def submit(*jobs: Job) -> Response:
    """Accept the jobs and answer for the last one. Raises what the ledger says of any of them."""
    preference = preferred()
    seconds = preference.seconds(service().settings.max_wait)
    record, accepted = await submit_and_wait(jobs, seconds)
    if accepted and accepted.repeats:
        return await replay(accepted.repeats)
    if record:
        return responses.of_record(record, *preference.applied(seconds, record.state.final))
    assert accepted is not None
    return responses.accepted(jobs[-1], accepted, *preference.applied(0, final=False))


async def submit_and_wait(jobs: tuple[Job, ...], seconds: float) -> tuple[Record | None, Accepted | None]:
    """The record of the last job if it is final within so many seconds or can be read then, and else how it was accepted."""
    here, request, job = service(), api_context(), jobs[-1]
    with here.waiters.registered(job.id, seconds, request.gone) if seconds else nullcontext() as final:
        committed = here.committer.add(*jobs)
        committed.add_done_callback(lambda _: request.end_turn())
        record = await _end_of(job, committed, final) if final else None
    return record, None if record else await committed


async def _end_of(job: Job, committed: "asyncio.Future[Accepted]", final: Final) -> Record | None:
    """The job's record when it is final, or at the end of the wait if it can be read then: accepted it is, whatever comes."""

    def ends_the_wait(commit: "asyncio.Future[Accepted]") -> None:
        error = commit.exception()
        if final.done():
            return
        if error:
            final.set_exception(error)
        elif commit.result().repeats:
            final.set_result(None)

    committed.add_done_callback(ends_the_wait)
    record = await final
    if record is None and committed.done() and not committed.result().repeats:
        with suppress(LedgerUnavailable):
            return await service().waiters.read(job.id)
    return record
