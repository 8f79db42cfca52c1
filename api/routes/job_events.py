"""Streams the steps of a job as Server-Sent Events, until its end."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from api.server.response import Stream
from jobs import resource
from jobs.errors import LedgerUnavailable
from jobs.job import Record, State
from jobs.waiters import FinalRecord, Waiters

POLL_INTERVAL = 0.5  # seconds between reads of a job that is not final
HEARTBEAT_INTERVAL = 10.0  # seconds without an event, after which a comment is sent
RETRY_INTERVAL = 2.0  # seconds between attempts while Redis is unavailable
MAX_STREAM_SECONDS = 3600.0  # seconds; then the client connects again
HEADERS = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),  # makes nginx forward each event at once
]


class JobEvent(Struct, frozen=True):
    """One event of the stream. ``id`` is for `Last-Event-ID`; ``data`` is the job, as JSON."""

    id: str
    event: Literal["queued", "running", "progress", "succeeded", "failed", "canceled", "expired"]
    data: Annotated[
        str,
        Meta(
            extra_json_schema={
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/Job"},
            }
        ),
    ]


def stream(waiters: Waiters, job_id: str, last_id: str) -> Stream:
    """``last_id``: the id of the last event that the client has received."""
    return Stream(_events(waiters, job_id, last_id), [*HEADERS])


def is_over(record: Record, last_id: str) -> bool:
    """Whether the client has received the final event already."""
    return record.state.final and last_id == record.state


async def _events(waiters: Waiters, job_id: str, last_id: str) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    loop = asyncio.get_running_loop()
    end, last_sent = loop.time() + MAX_STREAM_SECONDS, loop.time()
    with waiters.registered(job_id, MAX_STREAM_SECONDS) as final:
        while loop.time() < end:
            try:
                record = await waiters.read(job_id)
            except LedgerUnavailable:  # a browser that reconnects and gets an error gives up for good
                yield b": the queue does not answer\n\n"
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            if record is None:
                return
            for name, event_id in _new_events(record, last_id):
                yield _event(name, event_id, record)
                last_id, last_sent = event_id, loop.time()
            if record.state.final:
                return
            if loop.time() - last_sent >= HEARTBEAT_INTERVAL:
                yield b": still " + record.state.encode() + b"\n\n"
                last_sent = loop.time()
            await _wait_for_change(final)


def _new_events(record: Record, last_id: str) -> list[tuple[str, str]]:
    """Name and id of each event after ``last_id``. Ids derive from the state of the job, so all API processes make the same."""
    if record.state is State.QUEUED:
        events = [("queued", f"queued-{record.attempts}-{record.position}")]
    elif record.state is State.RUNNING:
        events = [("running", f"running-{record.attempts}")]
        if record.progress:
            events.append(("progress", f"progress-{record.attempts}-{zlib.crc32(record.progress):08x}"))
            if last_id.startswith(f"progress-{record.attempts}-"):
                del events[0]
    else:
        events = [(record.state, str(record.state))]
    ids = [event_id for _, event_id in events]
    return events[ids.index(last_id) + 1 :] if last_id in ids else events


def _event(name: str, event_id: str, record: Record) -> bytes:
    data = msgspec.json.encode(resource.of_record(record))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), name.encode(), data)


async def _wait_for_change(final: FinalRecord | None) -> None:
    if final is None:
        await asyncio.sleep(POLL_INTERVAL)
    else:
        await asyncio.wait([final], timeout=POLL_INTERVAL)
