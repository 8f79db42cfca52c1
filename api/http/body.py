"""What a request brings: its body and its query, each checked and bounded."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from enum import EnumType
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from werkzeug.http import parse_options_header

from api.http.context import api_context
from api.http.problems import HTTPProblem
from models.input_errors import InputError, InvalidInput, MalformedInput
from models.validation import fault_of, refuse_duplicates

SPELLINGS = 100  # of a header, or queries, that are remembered …
MAX_OPTIONS = 100_000  # bytes
LONGEST = 300  # … unless they are longer

T = TypeVar("T", bound=msgspec.Struct)
U = TypeVar("U", bound=msgspec.Struct)
P = TypeVar("P")


def remembered(read: Callable[[str], P]) -> Callable[[str], P]:
    """Clients say the same again and again."""
    known = lru_cache(SPELLINGS)(read)
    return lambda text: known(text) if len(text) <= LONGEST else read(text)


def mimetype() -> str:
    return _mimetype(api_context().headers.get("content-type") or "")


@remembered
def _mimetype(content_type: str) -> str:
    return parse_options_header(content_type)[0].lower()


def is_json() -> bool:
    """No content type counts as JSON: so do the requests of many a tutorial."""
    kind = mimetype()
    return kind in ("", "application/json") or kind.endswith("+json")


def json_body(also: str = "") -> bytes:
    """Raises HTTPProblem for another content type, whose text says what is taken ``also``."""
    body = api_context().body
    if body and not is_json():
        taken = f"JSON with 'Content-Type: application/json'{also}"
        raise HTTPProblem("unsupported-media-type", f"send {taken}, not {mimetype()[:80]}")
    return body


def decode(body: bytes, type_: type[T]) -> T:
    """A small JSON object of a known form. Raises MalformedInput, InvalidInput, or HTTPProblem if it is not small."""
    if len(body) > MAX_OPTIONS:
        raise HTTPProblem("body-too-large", f"options have at most {MAX_OPTIONS:,} bytes")
    decoded = read_json(body, type_, lambda error: _fault(error, type_))
    refuse_duplicates(body)
    return decoded


def read_json(body: bytes | msgspec.Raw, type_: type[P], fault: Callable[[msgspec.ValidationError], InputError] = fault_of) -> P:
    """JSON of a known form, in which a name may be given twice. Raises MalformedInput or InvalidInput."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidInput([fault(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedInput(str(error)) from None
    except RecursionError:
        raise MalformedInput("nested too deeply") from None


def query_of(type_: type[T]) -> Callable[[], T]:
    """A reader of query strings of one form. Raises InvalidInput, also for a parameter that there is not."""

    @remembered
    def read_query(text: str) -> T:
        return from_texts(_given(text), type_)

    return lambda: read_query(api_context().query)


def queries_of(first: type[T], also: type[U]) -> Callable[[], tuple[T, U]]:
    """The same of two forms at once. Raises InvalidInput."""

    @remembered
    def read_query(text: str) -> tuple[T, U]:
        given = _given(text)
        beside = {name: given.pop(name) for name in also.__struct_fields__ if name in given}
        return from_texts(given, first), from_texts(beside, also)

    return lambda: read_query(api_context().query)


def _given(query: str) -> dict[str, str]:
    """The first of several counts. One without a value is none that was left out: its variable was not set, most likely."""
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def from_texts(given: dict[str, str], type_: type[T]) -> T:
    """Texts as one form; a field that is no single value comes as JSON. Raises InvalidInput."""
    try:
        objects = _objects(type_)
        values = {name: _from_json(name, text) if name in objects else text for name, text in given.items()}
        found = msgspec.convert(values, type_, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput([_fault(error, type_)]) from None
    for name in given:
        if getattr(found, name) is None:  # what the text "null" is to msgspec
            raise InvalidInput([InputError(f"/{name}", f"expected {_taken(get_type_hints(type_, include_extras=True)[name])}")])
    return found


@lru_cache
def _objects(type_: type[msgspec.Struct]) -> set[str]:
    """The fields that are no single value."""
    return {field.name for field in msgspec.structs.fields(type_) if field.default_factory is dict}


def _from_json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput([InputError(f"/{name[:80]}", f"this is no JSON: {error}")]) from None


def _fault(error: msgspec.ValidationError, type_: type[msgspec.Struct]) -> InputError:
    """With what is taken, in words for a person."""
    detail, _, path = str(error).partition(" - at `$")
    names, field = list(type_.__struct_fields__), re.split(r"[.\[`]", path.removeprefix("."))[0]
    if field in names:
        taken = _taken(get_type_hints(type_, include_extras=True)[field])
        return InputError(f"/{field}", f"expected {taken}" if taken else detail[:1].lower() + detail[1:])
    unknown = re.search(r"unknown field `(.+)`", detail)
    if unknown:
        close = get_close_matches(unknown[1][:80], names, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        return InputError("", f"there is no option {unknown[1][:80]}{meant}; there are: {', '.join(names)}")
    return InputError("", detail[:1].lower() + detail[1:])


def _taken(hint: Any) -> str:
    """What a field takes, from its own definition; empty if that tells nothing."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if isinstance(hint, EnumType):
        return "one of " + ", ".join(hint)
    if hint is bool:
        return "true or false"
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    described = [note.description for note in notes if note.description]
    return described[0] if described else next(filter(None, map(_taken, get_args(hint))), "")
