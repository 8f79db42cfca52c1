"""The forms of the answers, and how a job's record becomes one."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from api.exchange import Answer
from api.problem import JobError, job_error
from jobs.job import Job, Kind, Record, State

POLL_AFTER = "1"  # seconds
JSON = ("Content-Type", "application/json")


class ModelReference(Struct, frozen=True):
    name: str
    version: int


class DatasetReference(Struct, frozen=True):
    name: str


class JobAnswer(Struct, frozen=True, omit_defaults=True):
    """A job of a model or of a data set, queued to final. ``progress`` while it runs; ``result`` or ``error`` at its end."""

    id: str
    kind: str
    status: State
    created_at: str
    result_url: str
    model: ModelReference | None = None
    dataset: DatasetReference | None = None
    rows: int = 0  # of the body
    started_at: str | None = None
    finished_at: str | None = None
    attempts: int = 0
    worker: str | None = None
    progress: Any = None
    result: Any = None
    error: JobError | None = None


class _StoredError(Struct):
    type: str
    detail: str


def accepted(job: Job, created_at: int, state: State) -> Answer:
    answer = JobAnswer(
        id=job.id,
        kind=job.kind.value,
        status=state,
        created_at=iso(created_at),
        result_url=f"/result/{job.id}",
        model=_model(job),
        dataset=_dataset(job),
        rows=job.rows,
    )
    return _unfinished(answer)


def of_record(record: Record, *headers: tuple[str, str]) -> Answer:
    """202 while it is queued or running, 200 when it is final."""
    answer = JobAnswer(
        id=record.id,
        kind=record.kind.value,
        status=record.state,
        model=_model(record),
        dataset=_dataset(record),
        rows=record.rows,
        created_at=iso(record.created_at),
        result_url=f"/result/{record.id}",
        started_at=iso(record.started_at) if record.started_at else None,
        finished_at=iso(record.finished_at) if record.finished_at else None,
        attempts=record.attempts,
        worker=record.worker,
        progress=msgspec.Raw(record.progress) if record.progress is not None else None,
        result=msgspec.Raw(record.result) if record.result is not None else None,
        error=_error(record.error) if record.error is not None else None,
    )
    return json(answer, 200, *headers) if record.state.final else _unfinished(answer, *headers)


def json(answer: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return Answer(msgspec.json.encode(answer), status, [JSON, *headers])


def schema(answer: Any) -> Answer:
    return Answer(msgspec.json.encode(answer), 200, [("Content-Type", "application/schema+json")])


def iso(milliseconds: int) -> str:
    second, millisecond = divmod(milliseconds, 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def _model(job: Job | Record) -> ModelReference | None:
    return None if job.kind is Kind.DATASET else ModelReference(job.model, job.version)


def _dataset(job: Job | Record) -> DatasetReference | None:
    return DatasetReference(job.model) if job.kind is Kind.DATASET else None


def _unfinished(answer: JobAnswer, *headers: tuple[str, str]) -> Answer:
    return json(answer, 202, ("Location", answer.result_url), ("Retry-After", POLL_AFTER), *headers)


def _error(stored: bytes) -> JobError:
    error = msgspec.json.decode(stored, type=_StoredError)
    return job_error(error.type, error.detail)
