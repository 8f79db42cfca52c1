"""What is told of a job's end, and to whom. The first attempt makes it from the job's record; the others repeat it to the letter,
also when the record is gone meanwhile."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, json, msgpack, structs

from jobs.job import ClaimedJob, Record
from jobs.resource import iso, of_record

MAX_BYTES = 20_000


class Told(Struct, frozen=True):
    type: str
    timestamp: str
    data: Any  # the job as the API answers it


class Message(Struct, frozen=True, array_like=True):
    """``caller`` is the one whose secret signs, ``attempts`` how many were made."""

    job_id: str
    url: str
    caller: str
    trace: str
    body: bytes
    attempts: int = 0

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


_decode = msgpack.Decoder(Message).decode
encode = msgpack.Encoder().encode


def message_of(delivery: ClaimedJob, read: Callable[[str], Record | None]) -> Message | None:
    """None if the record has gone. The payload is what was encoded; or the job's id alone before the first attempt, and after it
    if too much waits to be kept."""
    if delivery.payload != told_of(delivery).encode():
        return _decode(delivery.payload)
    record = read(told_of(delivery))
    if record is None:
        return None
    made = len(json.decode(record.deliveries))
    return Message(record.id, record.more.webhook, record.caller, record.more.trace, _body(record), made)


def told_of(delivery: ClaimedJob) -> str:
    """The id of the job whose end is told."""
    return delivery.id.removeprefix("wh-")


def _body(record: Record) -> bytes:
    """As before the first attempt, whenever it is made. A result that is too large is left out: its URL is in there."""
    record = structs.replace(record, deliveries=b"[]")
    body = _encoded(record, result=True)
    return body if len(body) < MAX_BYTES else _encoded(record, result=False)


def _encoded(record: Record, result: bool) -> bytes:
    assert record.finished_at is not None
    return json.encode(Told(f"job.{record.state}", iso(record.finished_at), of_record(record, result)))
