"""What goes over the wire for a job and for anything else."""

from typing import Any

import msgspec

from api.server.response import Response
from jobs import resource
from jobs.codec import Accepted
from jobs.job import Job, Record
from jobs.resource import JobResource

JSON = ("Content-Type", "application/json")


def accepted(job: Job, said: Accepted, *headers: tuple[str, str]) -> Response:
    return unfinished(resource.of_new(job, said.created_at, said.state), said.retry_after, *headers)


def of_record(record: Record, *headers: tuple[str, str]) -> Response:
    """202 while it is queued or running, 200 when it is final."""
    told = resource.of_record(record)
    return json(told, 200, *headers) if record.state.final else unfinished(told, record.retry_after, *headers)


def unfinished(told: JobResource, retry_after: int, *headers: tuple[str, str]) -> Response:
    return json(told, 202, ("Location", told.result_url), ("Retry-After", str(retry_after)), *headers)


def json(told: Any, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(msgspec.json.encode(told), status, [JSON, *headers])


def schema(told: Any) -> Response:
    return Response(msgspec.json.encode(told), 200, [("Content-Type", "application/schema+json")])
