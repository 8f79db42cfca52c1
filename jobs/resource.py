"""The public representation of a job: in API responses, events and webhooks."""

from datetime import UTC, datetime
from functools import lru_cache
from math import ceil
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from jobs.failures import JobError, job_error
from jobs.job import Job, Kind, Record, State

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-31T12:30:00.125Z"])]


class ModelReference(Struct, frozen=True):
    name: str
    version: int


class DatasetReference(Struct, frozen=True):
    name: str


class Attempt(Struct, frozen=True):
    """One attempt to deliver a webhook: when, the status of its response, or why there is none."""

    at: Time
    status: int | None = None
    error: str = ""


class WebhookResource(Struct, frozen=True):
    """Where the job's end is delivered to, and the attempts so far."""

    url: str
    attempts: list[Attempt]


class Step(Struct, frozen=True):
    """The progress of a job: ``done`` out of ``total``, at this stage."""

    done: int
    total: int
    stage: str


class JobResource(Struct, frozen=True, omit_defaults=True):
    """A job of a model or of a data set, queued to final. ``position`` in its lane while it is queued, 1 being the next;
    ``progress`` while it runs; ``canceling`` while it is being stopped; ``result`` or ``error`` at its end."""

    id: str
    kind: Kind
    status: State
    created_at: Time
    result_url: str
    model: ModelReference | None = None
    dataset: DatasetReference | None = None
    rows: int = 0  # of the body
    label: str = ""
    position: int | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    expires_at: Time | None = None
    attempts: int = 0
    worker: str | None = None
    canceling: bool = False
    progress: Any = None
    webhook: WebhookResource | None = None
    result: Any = None
    error: JobError | None = None


def of_new(job: Job, created_at: int, state: State) -> JobResource:
    """The resource of a job that has just been accepted."""
    metadata, expires_in = job.submit_options.metadata, ceil(job.submit_options.expires_in * 1000)
    return JobResource(
        id=job.id,
        kind=job.kind,
        status=state,
        created_at=iso(created_at),
        result_url=f"/result/{job.id}",
        model=_model(job),
        dataset=_dataset(job),
        rows=job.rows,
        label=metadata.label,
        expires_at=iso(created_at + expires_in) if expires_in else None,
        webhook=WebhookResource(metadata.webhook, []) if metadata.webhook else None,
    )


def of_record(record: Record, result: bool = True) -> JobResource:
    """The resource of a record. ``result``: whether to include the result."""
    return JobResource(
        id=record.id,
        kind=record.kind,
        status=record.state,
        model=_model(record),
        dataset=_dataset(record),
        rows=record.rows,
        label=record.metadata.label,
        position=record.position,
        created_at=iso(record.created_at),
        result_url=f"/result/{record.id}",
        started_at=iso(record.started_at) if record.started_at else None,
        finished_at=iso(record.finished_at) if record.finished_at else None,
        expires_at=iso(record.expires_at) if record.expires_at else None,
        attempts=record.attempts,
        worker=record.worker,
        canceling=record.canceling,
        progress=msgspec.Raw(record.progress) if record.progress is not None else None,
        webhook=_webhook(record) if record.metadata.webhook else None,
        result=msgspec.Raw(record.result) if result and record.result is not None else None,
        error=job_error(record.error) if record.error is not None else None,
    )


def iso(milliseconds: int) -> str:
    """A time in milliseconds since 1970 as RFC 3339, in UTC."""
    second, millisecond = divmod(milliseconds, 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def _webhook(record: Record) -> WebhookResource:
    return WebhookResource(record.metadata.webhook, msgspec.json.decode(record.deliveries, type=list[Attempt]))


def _model(job: Job | Record) -> ModelReference | None:
    return None if job.kind is Kind.DATASET else ModelReference(job.model, job.version)


def _dataset(job: Job | Record) -> DatasetReference | None:
    return DatasetReference(job.model.rpartition(".")[2]) if job.kind is Kind.DATASET else None
