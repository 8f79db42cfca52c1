"""What goes to the ledger's scripts and comes back from them, as values of ours."""

from collections.abc import Iterable
from typing import Any

import msgspec

from jobs.errors import AfterFailed, LaneFull, LedgerError, Moved
from jobs.job import Claim, ClaimedJob, Job, Kind, Record, State

Rings = list[tuple[str, str]]  # (kind, bell): knocks that the caller has to make

REFUSALS: dict[bytes, tuple[type[LedgerError], str]] = {
    b"lane-full": (LaneFull, "as many jobs wait as may"),
    b"after-failed": (AfterFailed, "the job to wait for has failed or is gone"),
    b"moved": (Moved, "the version in service has changed meanwhile"),
}

_packed = msgspec.msgpack.Decoder(list[tuple[str, ...]])


class Accepted:
    """What ``add`` says of a job: when it was created, its state, and whether it was there already."""

    __slots__ = ("created_at", "existed", "state")

    def __init__(self, created_at: int, state: State, existed: bool) -> None:
        self.created_at = created_at
        self.state = state
        self.existed = existed


def as_arguments(job: Job) -> tuple[Any, ...]:
    head = (job.id, job.kind.value, job.lane, job.model, job.version, job.rows, job.options, job.after, job.payload)
    return (*head, job.expects.key, job.expects.field, job.expects.value)


def accepted(status: bytes, created_at: int, state: bytes) -> Accepted | LedgerError:
    if status in REFUSALS:
        error, detail = REFUSALS[status]
        return error(detail)
    return Accepted(created_at, State(state.decode()), status == b"exists")


def rings(flat: list[bytes]) -> Rings:
    names = [value.decode() for value in flat]
    return list(zip(names[::2], names[1::2], strict=True))


def claim(group: bytes, jobs: list[Any]) -> Claim | None:
    if not jobs:
        return None
    model, _, version = group.decode().rpartition("/")
    claimed = tuple(
        ClaimedJob(job_id.decode(), fence, rows, options, payload, after.decode())
        for job_id, fence, rows, options, payload, after in jobs
    )
    return Claim(model, int(version), claimed)


def records(packed: bytes) -> Iterable[tuple[str, Record | None]]:
    """As the read script packs them. A record that is there and did not fit is left out."""
    for fields in _packed.decode(packed):
        if len(fields) != 2:
            yield fields[0], _record(*fields) if len(fields) > 1 else None


def pushed(packed: bytes) -> Iterable[tuple[str, Record | None]]:
    """As they are pushed when they become final; None for a record that has to be read."""
    for fields in _packed.decode(packed):
        yield fields[0], _record(*fields) if len(fields) > 1 else None


def _record(
    job_id: str,
    kind: str,
    state: str,
    group: str,
    rows: str,
    attempts: str,
    created: str,
    started: str,
    finished: str,
    worker: str,
    result: str,
    error: str,
    progress: str,
) -> Record:
    model, _, version = group.rpartition("/")
    return Record(
        id=job_id,
        kind=Kind(kind),
        state=State(state),
        model=model,
        version=int(version),
        rows=int(rows),
        attempts=int(attempts or 0),
        created_at=int(created),
        started_at=int(started) if started else None,
        finished_at=int(finished) if finished else None,
        worker=worker or None,
        result=result.encode() if result else None,
        error=error.encode() if error else None,
        progress=progress.encode() if progress else None,
    )
