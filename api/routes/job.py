"""GET and DELETE /result/<id>."""

from typing import Annotated

from flask import Blueprint
from msgspec import Meta, Struct

from api.http import responses
from api.http.body import query_of
from api.http.context import api_context, run_in_thread, service
from api.http.operation import Media, operation
from api.http.problems import HTTPProblem
from api.job_ids import JobId, check_id
from api.routes import job_events
from api.server.response import Response, Stream
from jobs.job import Record
from jobs.resource import JobResource

blueprint = Blueprint("result", __name__)

EXPIRED = "The job ended, and its result has been forgotten since."


class ResultQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``wait``: seconds to hold the answer while the job is not final."""

    wait: Annotated[float, Meta(ge=0, le=60, description="seconds from 0 to 60")] = 0


result_query = query_of(ResultQuery)


@blueprint.get("/result/<job_id>")  # type: ignore[type-var]
@operation(
    "any",
    "A job, and its result when it has ended",
    query=(ResultQuery,),
    headers=("Last-Event-ID",),
    responses={200: (JobResource, Media("text/event-stream", job_events.JobEvent)), 202: JobResource, 204: None},
    problems=("unknown-job", "forgotten-job", "too-many-waiting"),
)
async def result(job_id: JobId) -> Response | Stream:
    """With `Accept: text/event-stream` each step as it comes. An event is named `queued`, `running`, `progress`, `succeeded`,
    `failed`, `canceled` or `expired`, its data is the job; the stream ends after the last four. 204 if that was seen already."""
    seconds = min(result_query().wait, service().settings.max_wait)
    await check_id(job_id)
    waiters = service().waiters
    if "text/event-stream" in (api_context().headers.get("accept") or ""):
        return await _stream(job_id)
    return responses.of_record(
        _existing(await (waiters.wait(job_id, seconds, api_context().disconnected) if seconds else waiters.read(job_id)))
    )


@blueprint.delete("/result/<job_id>")
@operation(
    "any",
    "Cancel a job",
    responses={200: JobResource, 202: JobResource},
    problems=("unknown-job", "forgotten-job", "job-final"),
)
async def cancel(job_id: JobId) -> Response:
    """200 if it is canceled, 202 while it is being stopped: it will be canceled, whatever comes."""
    await check_id(job_id)
    state, wakeups = await run_in_thread(service().ledger.cancel, job_id)
    service().wakeup_sender.send(wakeups)
    if state not in ("canceled", "canceling", "missing"):
        raise HTTPProblem("job-final", f"The job has {state} already.")
    return responses.of_record(_existing(await service().waiters.read(job_id)))


async def _stream(job_id: str) -> Response | Stream:
    waiters, last_id = service().waiters, api_context().headers.get("last-event-id") or ""
    if waiters.is_full:
        raise HTTPProblem("too-many-waiting", "Too many clients are waiting: send the request again without waiting.")
    record = _existing(await waiters.read(job_id))
    if job_events.is_over(record, last_id):
        return Response(b"", 204, [])
    return job_events.stream(waiters, job_id, last_id)


def _existing(record: Record | None) -> Record:
    if record is None:
        raise HTTPProblem("forgotten-job", EXPIRED)
    return record
