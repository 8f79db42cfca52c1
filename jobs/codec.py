"""Encodes the arguments of the ledger's scripts and decodes their replies."""

from collections.abc import Iterable
from math import ceil
from typing import Any

import msgspec

from jobs.errors import AfterFailed, JobTooLarge, KeyReused, LaneFull, LedgerError, LedgerFull, PreconditionFailed
from jobs.job import DEFAULT_OPTIONS, NO_METADATA, Claim, ClaimedJob, Job, Kind, Metadata, Record, State, SubmitOptions

Wakeups = list[tuple[str, str]]  # (kind, name of the wakeup), for the caller to send

REFUSALS: dict[bytes, tuple[type[LedgerError], str]] = {
    b"key-reused": (KeyReused, "this Idempotency-Key came with another request before"),
    b"after-failed": (AfterFailed, "the job to wait for has failed or is gone"),
    b"moved": (PreconditionFailed, "the version in service has changed meanwhile"),
}


class _PackedRecord(msgspec.Struct, array_like=True):
    """A record as the scripts pack it (lua/read.lua, and finalize in lua/ends.lua), with '' for what it does not have. A missing
    job comes as its id alone, one that did not fit into the reply with DID_NOT_FIT in place of its kind."""

    id: str
    kind: str = ""
    state: str = ""
    group: str = ""
    rows: str = ""
    attempts: str = ""
    created_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    worker: str = ""
    result: str = ""
    error: str = ""
    progress: str = ""
    caller: str = ""
    metadata: str = ""
    expires_at: str = ""
    canceling: str = ""
    deliveries: str = ""
    position: str = ""
    retry_after: str = ""


DID_NOT_FIT = "again"

_packed = msgspec.msgpack.Decoder(list[_PackedRecord])
_listed = msgspec.msgpack.Decoder(list[tuple[str, str]])
_metadata_decoder = msgspec.json.Decoder(Metadata)
_kinds = {kind.value: kind for kind in Kind}  # takes a fifth of the time of an enumeration's look-up
_states = {state.value: state for state in State}


class Accepted:
    """The result of ``add`` for a job. ``created_at``: milliseconds. ``existed``: whether the job was in the ledger already.
    ``retry_after``: seconds until the client should poll. ``repeats``: the id of the job that was accepted before under the same
    Idempotency-Key, in place of this one."""

    __slots__ = ("created_at", "existed", "repeats", "retry_after", "state")

    def __init__(self, created_at: int, state: State, existed: bool, retry_after: int = 1, repeats: str = "") -> None:
        self.created_at = created_at
        self.state = state
        self.existed = existed
        self.retry_after = retry_after
        self.repeats = repeats


def as_arguments(job: Job) -> tuple[Any, ...]:
    head = (job.id, job.kind.value, job.lane, job.model, job.version, job.rows, job.options, job.after, job.payload)
    options = _packed_options(job.submit_options) if job.submit_options is not DEFAULT_OPTIONS else b""
    return (*head, job.result_bytes, job.expects.key, job.expects.field, job.expects.value, options)


def _packed_options(options: SubmitOptions) -> bytes:
    metadata = msgspec.json.encode(options.metadata).decode() if options.metadata is not NO_METADATA else ""
    expires_in = ceil(options.expires_in * 1000)
    return msgspec.msgpack.encode((options.caller, expires_in, options.key, options.fingerprint, options.host, metadata))


def accepted(outcomes: Iterable[Any], created_at: int) -> list[Accepted | LedgerError]:
    """Decode the outcomes of the add script. ``created_at``: of those jobs that it has added."""
    return [
        Accepted(created_at, State.QUEUED, False, outcome) if isinstance(outcome, int) else _existing_or_refused(*outcome)
        for outcome in outcomes
    ]


def _existing_or_refused(
    status: bytes, created_at: int, state: bytes, job_id: bytes, retry_after: int, largest: int = 0
) -> Accepted | LedgerError:
    if status == b"lane-full":
        return LaneFull("too many jobs wait in this lane", retry_after)
    if status == b"full":
        return LedgerFull("Redis has no room for this job and its result: nothing was accepted, send it again later", retry_after)
    if status == b"too-large":
        needed = retry_after
        return JobTooLarge(
            f"the job and its result may take {needed:,} bytes, and with Redis's maxmemory one job may take {largest:,}: "
            "send fewer rows at a time, or raise MLDEPLOY_MAXMEMORY"
        )
    if status in REFUSALS:
        error, detail = REFUSALS[status]
        return error(detail)
    repeats = job_id.decode() if status == b"repeated" else ""
    return Accepted(created_at, _states[state.decode()], True, retry_after, repeats)


def is_late(reply: Any) -> bool:
    """Whether Redis ran ``add`` after its ``not_after``."""
    return bool(reply[1] == b"late")


def known_key(stored: bytes | None) -> tuple[str, str] | None:
    if stored is None:
        return None
    job_id, _, fingerprint = stored.decode().partition(" ")
    return job_id, fingerprint


def wakeups(flat: list[bytes]) -> Wakeups:
    names = [value.decode() for value in flat]
    return list(zip(names[::2], names[1::2], strict=True))


def claim(group: bytes, jobs: list[Any]) -> Claim | None:
    if not jobs:
        return None
    model, _, version = group.decode().rpartition("/")
    claimed = tuple(
        ClaimedJob(job_id.decode(), fence, rows, options, payload, after.decode(), _decoded_metadata(metadata))
        for job_id, fence, rows, options, payload, after, metadata in jobs
    )
    return Claim(model, int(version), claimed)


def records(packed: bytes) -> Iterable[tuple[str, Record | None]]:
    """Decode the reply of the read script; None for a job that does not exist. A record that did not fit into the reply is left
    out."""
    for each in _packed.decode(packed):
        if each.kind != DID_NOT_FIT:
            yield each.id, _record(each) if each.kind else None


def listed(packed: bytes) -> list[tuple[int, str]]:
    """Decode the places and ids of the list script."""
    return [(int(place), job_id) for place, job_id in _listed.decode(packed)]


def pushed(packed: bytes) -> Iterable[tuple[str, Record | None]]:
    """Decode the records of a push message; None for a record that is too large to be pushed."""
    for each in _packed.decode(packed):
        yield each.id, _record(each) if each.kind else None


def _decoded_metadata(text: bytes | str) -> Metadata:
    return _metadata_decoder.decode(text) if text else NO_METADATA


def _record(packed: _PackedRecord) -> Record:
    model, _, version = packed.group.rpartition("/")
    return Record(
        id=packed.id,
        kind=_kinds[packed.kind],
        state=_states[packed.state],
        model=model,
        version=int(version),
        rows=int(packed.rows),
        attempts=int(packed.attempts or 0),
        created_at=int(packed.created_at),
        started_at=int(packed.started_at) if packed.started_at else None,
        finished_at=int(packed.finished_at) if packed.finished_at else None,
        worker=packed.worker or None,
        result=packed.result.encode() if packed.result else None,
        error=packed.error.encode() if packed.error else None,
        progress=packed.progress.encode() if packed.progress else None,
        caller=packed.caller,
        metadata=_decoded_metadata(packed.metadata),
        expires_at=int(packed.expires_at) if packed.expires_at else None,
        canceling=bool(packed.canceling),
        deliveries=f"[{packed.deliveries}]".encode() if packed.deliveries else b"[]",
        position=int(packed.position) if packed.position else None,
        retry_after=int(packed.retry_after) if packed.retry_after else 1,
    )
