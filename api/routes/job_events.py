"""A job as Server-Sent Events: what it comes to, as it comes, until its end."""

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
from jobs.waiters import Final, Waiters

LOOK = 0.5  # seconds between looks at a job that is not final
HEARTBEAT = 10.0  # seconds of silence
AWAY = 2.0  # seconds between looks while Redis is away
LONGEST = 3600.0  # seconds; then the client asks anew
HEADERS = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),  # a proxy is to pass each event on at once
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
    """``last_id``: the event that the client has seen last."""
    return Stream(_events(waiters, job_id, last_id), [*HEADERS])


def is_over(record: Record, last_id: str) -> bool:
    """The client has seen the end already."""
    return record.state.final and last_id == record.state


async def _events(waiters: Waiters, job_id: str, seen: str) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    loop = asyncio.get_running_loop()
    end, told = loop.time() + LONGEST, loop.time()
    with waiters.registered(job_id, LONGEST) as final:
        while loop.time() < end:
            try:
                record = await waiters.read(job_id)
            except LedgerUnavailable:  # a browser that asked anew and got an error would give up for good
                yield b": the queue does not answer\n\n"
                await asyncio.sleep(AWAY)
                continue
            if record is None:
                return
            for name, event_id in _news(record, seen):
                yield _event(name, event_id, record)
                seen, told = event_id, loop.time()
            if record.state.final:
                return
            if loop.time() - told >= HEARTBEAT:
                yield b": still " + record.state.encode() + b"\n\n"
                told = loop.time()
            await _next_look(final)


def _news(record: Record, seen: str) -> list[tuple[str, str]]:
    """Name and id of each event since the one that was seen. An id is made of what it tells, so any API process knows it."""
    if record.state is State.QUEUED:
        events = [("queued", f"queued-{record.attempts}-{record.position}")]
    elif record.state is State.RUNNING:
        events = [("running", f"running-{record.attempts}")]
        if record.progress:
            events.append(("progress", f"progress-{record.attempts}-{zlib.crc32(record.progress):08x}"))
            if seen.startswith(f"progress-{record.attempts}-"):
                del events[0]
    else:
        events = [(record.state, str(record.state))]
    ids = [event_id for _, event_id in events]
    return events[ids.index(seen) + 1 :] if seen in ids else events


def _event(name: str, event_id: str, record: Record) -> bytes:
    data = msgspec.json.encode(resource.of_record(record))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), name.encode(), data)


async def _next_look(final: Final | None) -> None:
    if final is None:
        await asyncio.sleep(LOOK)
    else:
        await asyncio.wait([final], timeout=LOOK)
