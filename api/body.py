"""What a request brings: its body, its query and its preferences, each checked and bounded."""

import re
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

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


def json_body(also: str = "") -> bytes:
    """Raises Refusal for another content type, whose text says what is taken ``also``, and 413 for a body over the limit."""
    if not is_json() and request.content_length != 0:
        taken = f"JSON with 'Content-Type: application/json'{also}"
        raise Refusal("unsupported-media-type", f"send {taken}, not {request.mimetype[:80]}")
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
        raise InvalidInput([_fault(error, type_)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedInput(str(error)) from None
    except RecursionError:
        raise MalformedInput("nested too deeply") from None
    refuse_duplicates(body)
    return decoded


def query(type_: type[T]) -> T:
    """The query string. Raises InvalidInput, also for a parameter that there is not."""
    try:
        return msgspec.convert({name: value for name, value in request.args.items() if value}, type_, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput([_fault(error, type_)]) from None


def preferred_wait(most: float) -> float:
    """Seconds of `Prefer: wait` (RFC 7240); 0 without one. A preference that cannot be met is no error."""
    value = parse_dict_header(request.headers.get("Prefer", "")).get("wait") or ""
    return min(float(value), most) if value.isdecimal() and len(value) < 10 else 0.0


def _fault(error: msgspec.ValidationError, type_: type[msgspec.Struct]) -> Fault:
    """With what is taken, in words for a person."""
    detail, _, path = str(error).partition(" - at `$")
    names, field = list(type_.__struct_fields__), path.rstrip("`").removeprefix(".")
    if field in names:
        taken = _taken(get_type_hints(type_, include_extras=True)[field])
        return Fault(f"/{field}", f"expected {taken}" if taken else detail[:1].lower() + detail[1:])
    unknown = re.search(r"unknown field `(.+)`", detail)
    if unknown:
        return Fault("", f"there is no option {unknown[1][:80]}; there are: {', '.join(names)}")
    return Fault("", detail[:1].lower() + detail[1:])


def _taken(hint: Any) -> str:
    """What a field takes, from its own definition; empty if that tells nothing."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if hint is bool:
        return "true or false"
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    described = [note.description for note in notes if note.description]
    return described[0] if described else next(filter(None, map(_taken, get_args(hint))), "")
