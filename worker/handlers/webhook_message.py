"""The message that a webhook sends at a job's end. The first attempt makes it from the job's record; later attempts repeat it
unchanged, even if the record is gone."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, json, msgpack, structs

from jobs.job import ClaimedJob, Record
from jobs.resource import iso, of_record

MAX_BYTES = 20_000  # of a body with its result


class WebhookBody(Struct, frozen=True):
    type: str
    timestamp: str
    data: Any  # the job as the API answers it


class Message(Struct, frozen=True, array_like=True):
    """``caller``: whose secret signs it. ``attempts``: how many were made."""

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
    """The message of a delivery; None if the record is gone. The payload is the encoded message, or the job's id: before the
    first attempt, and later if there was no room to keep the message."""
    if delivery.payload != job_id_of(delivery).encode():
        return _decode(delivery.payload)
    record = read(job_id_of(delivery))
    if record is None:
        return None
    made = len(json.decode(record.deliveries))
    return Message(record.id, record.metadata.webhook, record.caller, record.metadata.trace, _body(record), made)


def job_id_of(delivery: ClaimedJob) -> str:
    """The id of the job that has ended."""
    return delivery.id.removeprefix("wh-")


def _body(record: Record) -> bytes:
    """The body, always with an empty list of attempts. A result that is too large is left out; the body has its URL."""
    record = structs.replace(record, deliveries=b"[]")
    body = _encode_body(record, result=True)
    return body if len(body) < MAX_BYTES else _encode_body(record, result=False)


def _encode_body(record: Record, result: bool) -> bytes:
    assert record.finished_at is not None
    return json.encode(WebhookBody(f"job.{record.state}", iso(record.finished_at), of_record(record, result)))
