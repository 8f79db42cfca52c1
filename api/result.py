"""GET and DELETE /result/<id>."""

from typing import Annotated

from flask import Blueprint
from msgspec import Meta, Struct

from api import answers
from api.body import query_of
from api.exchange import Answer, aside, service
from api.ids import verifies
from api.problem import Refusal
from jobs.job import Record

blueprint = Blueprint("result", __name__)

EXPIRED = "The job ended, and its result has been forgotten since."


class ResultQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``wait``: seconds to hold the answer while the job is not final."""

    wait: Annotated[float, Meta(ge=0, le=60, description="seconds from 0 to 60")] = 0


result_query = query_of(ResultQuery)


@blueprint.get("/result/<job_id>")
async def result(job_id: str) -> Answer:
    seconds = min(result_query().wait, service().settings.max_wait)
    await _check_id(job_id)
    waiters = service().waiters
    return answers.of_record(_found(await (waiters.wait(job_id, seconds) if seconds else waiters.read(job_id))))


@blueprint.delete("/result/<job_id>")
async def cancel(job_id: str) -> Answer:
    await _check_id(job_id)
    state, rings = await aside(service().ledger.cancel, job_id)
    service().bell.ring(rings)
    if state == "running":
        raise Refusal("job-running", "A job can be canceled while it is queued; this one has started.")
    if state not in ("canceled", "missing"):
        raise Refusal("job-final", f"The job has {state} already.")
    return answers.of_record(_found(await service().waiters.read(job_id)))


async def _check_id(job_id: str) -> None:
    if not await verifies(job_id):
        raise Refusal("unknown-job", "No job was ever given this id here.")


def _found(record: Record | None) -> Record:
    if record is None:
        raise Refusal("forgotten-job", EXPIRED)
    return record
