"""GET and DELETE /result/<id>."""

from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from api import answers
from api.body import query
from api.problem import Refusal
from api.service import service
from jobs.job import Record

blueprint = Blueprint("result", __name__)

EXPIRED = "The job ended, and its result has been forgotten since."


class ResultQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``wait``: seconds to hold the answer while the job is not final."""

    wait: Annotated[float, Meta(ge=0, le=60, description="seconds from 0 to 60")] = 0


@blueprint.get("/result/<job_id>")
def result(job_id: str) -> Response:
    seconds = min(query(ResultQuery).wait, service().settings.max_wait)
    _check_id(job_id)
    return answers.of_record(_found(_waited(job_id, seconds) if seconds else service().ledger.get(job_id)))


@blueprint.delete("/result/<job_id>")
def cancel(job_id: str) -> Response:
    _check_id(job_id)
    state, rings = service().ledger.cancel(job_id)
    service().bell.ring(rings)
    if state == "running":
        raise Refusal("job-running", "A job can be canceled while it is queued; this one has started.")
    if state not in ("canceled", "missing"):
        raise Refusal("job-final", f"The job has {state} already.")
    return answers.of_record(_found(service().ledger.get(job_id)))


def _waited(job_id: str, seconds: float) -> Record | None:
    """A client for whom there is no place to wait is answered at once."""
    with service().waiters.place() as may_wait:
        return service().waiters.wait(job_id, seconds if may_wait else 0.0)


def _check_id(job_id: str) -> None:
    if not service().ledger.verifies(job_id):
        raise Refusal("unknown-job", "No job was ever given this id here.")


def _found(record: Record | None) -> Record:
    if record is None:
        raise Refusal("forgotten-job", EXPIRED)
    return record
