"""What a request brings: its body, its query and its preferences, each checked and bounded."""

from typing import TypeVar

import msgspec
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_dict_header

from api.problem import Refusal, TooManyUploads
from api.service import service
from models.schema import Fault, InvalidInput, MalformedInput, refuse_duplicates

UPLOAD_PATIENCE = 1.0  # seconds to wait for a place

T = TypeVar("T", bound=msgspec.Struct)


def is_json() -> bool:
    """No content type counts as JSON: so do the requests of many a tutorial."""
    kind = request.mimetype
    return kind in ("", "application/json") or kind.endswith("+json")


def json_body() -> bytes:
    """Raises Refusal for another content type, and 413 for a body over the limit."""
    if not is_json() and request.content_length != 0:
        raise Refusal("unsupported-media-type", f"send JSON with 'Content-Type: application/json', not {request.mimetype[:80]}")
    return read()


def read() -> bytes:
    """The whole body. One without a length would be cut silently at Flask's limit; one whose client has gone may be short."""
    if not service().uploads.acquire(timeout=UPLOAD_PATIENCE):
        raise TooManyUploads("Bodies arrive too slowly; send it again.")
    try:
        body = request.get_data(cache=False)
    finally:
        service().uploads.release()
    if len(body) > service().settings.max_body:
        raise RequestEntityTooLarge
    if request.content_length is not None and len(body) != request.content_length:
        raise MalformedInput(f"{len(body)} of {request.content_length} bytes arrived")
    return body


def decode(body: bytes, type_: type[T]) -> T:
    """A small JSON object of a known form. Raises MalformedInput or InvalidInput."""
    try:
        decoded = msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidInput([_fault(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedInput(str(error)) from None
    except RecursionError:
        raise MalformedInput("nested too deeply") from None
    refuse_duplicates(body)
    return decoded


def query(type_: type[T]) -> T:
    """The query string. Raises InvalidInput, also for a parameter that there is not."""
    try:
        return msgspec.convert(request.args.to_dict(), type_, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput([_fault(error)]) from None


def preferred_wait(most: float) -> float:
    """Seconds of `Prefer: wait` (RFC 7240); 0 without one. A preference that cannot be met is no error."""
    value = parse_dict_header(request.headers.get("Prefer", "")).get("wait") or ""
    return min(float(value), most) if value.isdecimal() and len(value) < 10 else 0.0


def _fault(error: msgspec.ValidationError) -> Fault:
    detail, _, path = str(error).partition(" - at `$")
    return Fault(path.rstrip("`").replace(".", "/"), detail[:1].lower() + detail[1:])
