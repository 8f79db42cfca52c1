"""The last step of every submission: commits the jobs, and responds with 202 or, if the client waits, with the result."""

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
from jobs.waiters import FinalRecord


async def submit(*jobs: Job) -> Response:
    """Accepts the jobs and responds for the last one. Raises the ledger's error for any of them."""
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
    """Commits the jobs and waits for the last one, up to ``seconds``. Returns its record if it is final or can be read then, and
    else how it was accepted."""
    app_service, context, job = service(), api_context(), jobs[-1]
    with app_service.waiters.registered(job.id, seconds, context.disconnected) if seconds else nullcontext() as final:
        committed = app_service.committer.add(*jobs)
        committed.add_done_callback(lambda _: context.release_write_slot())
        record = await _end_of(job, committed, final) if final else None
    return record, None if record else await committed


async def _end_of(job: Job, committed: "asyncio.Future[Accepted]", final: FinalRecord) -> Record | None:
    """The job's record when it is final, or at the end of the wait if it can be read then. The job is accepted in either case."""

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
