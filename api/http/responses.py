"""JSON responses, for jobs and for everything else."""

from typing import Any

import msgspec

from api.server.response import Response
from jobs import resource
from jobs.codec import Accepted
from jobs.job import Job, Record
from jobs.resource import JobResource

JSON = ("Content-Type", "application/json")


def accepted(job: Job, acceptance: Accepted, *headers: tuple[str, str]) -> Response:
    return unfinished(resource.of_new(job, acceptance.created_at, acceptance.state), acceptance.retry_after, *headers)


def of_record(record: Record, *headers: tuple[str, str]) -> Response:
    """202 while the job is queued or running, 200 when it is final."""
    job = resource.of_record(record)
    return json(job, 200, *headers) if record.state.final else unfinished(job, record.retry_after, *headers)


def unfinished(job: JobResource, retry_after: int, *headers: tuple[str, str]) -> Response:
    return json(job, 202, ("Location", job.result_url), ("Retry-After", str(retry_after)), *headers)


def json(value: Any, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(msgspec.json.encode(value), status, [JSON, *headers])


def schema(value: Any) -> Response:
    return Response(msgspec.json.encode(value), 200, [("Content-Type", "application/schema+json")])
