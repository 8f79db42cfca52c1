"""Reads and checks the body and the query of a request, within limits of size."""

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
from models.validation import refuse_duplicates, to_input_error

MAX_CACHED = 100  # parsed headers or queries
MAX_OPTIONS = 100_000  # bytes
MAX_CACHED_LENGTH = 300  # characters; a longer text is parsed each time

T = TypeVar("T", bound=msgspec.Struct)
U = TypeVar("U", bound=msgspec.Struct)
P = TypeVar("P")


def cached_by_text(read: Callable[[str], P]) -> Callable[[str], P]:
    """Caches the results of a parser: clients send the same headers and queries again and again."""
    cached = lru_cache(MAX_CACHED)(read)
    return lambda text: cached(text) if len(text) <= MAX_CACHED_LENGTH else read(text)


def mimetype() -> str:
    return _mimetype(api_context().headers.get("content-type") or "")


@cached_by_text
def _mimetype(content_type: str) -> str:
    return parse_options_header(content_type)[0].lower()


def is_json() -> bool:
    """A missing content type counts as JSON, since many tutorials send none."""
    kind = mimetype()
    return kind in ("", "application/json") or kind.endswith("+json")


def json_body(also_accepted: str = "") -> bytes:
    """The body of a JSON request. Raises HTTPProblem for another content type; ``also_accepted`` says in its detail what else is
    accepted."""
    body = api_context().body
    if body and not is_json():
        expected = f"JSON with 'Content-Type: application/json'{also_accepted}"
        raise HTTPProblem("unsupported-media-type", f"send {expected}, not {mimetype()[:80]}")
    return body


def decode(body: bytes, type_: type[T]) -> T:
    """Decodes a small JSON object. Raises MalformedInput, InvalidInput, or HTTPProblem for more than MAX_OPTIONS bytes."""
    if len(body) > MAX_OPTIONS:
        raise HTTPProblem("body-too-large", f"options have at most {MAX_OPTIONS:,} bytes")
    decoded = read_json(body, type_, lambda error: _input_error(error, type_))
    refuse_duplicates(body)
    return decoded


def read_json(
    body: bytes | msgspec.Raw, type_: type[P], to_error: Callable[[msgspec.ValidationError], InputError] = to_input_error
) -> P:
    """Decodes JSON without a check for duplicate names. Raises MalformedInput or InvalidInput."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidInput([to_error(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedInput(str(error)) from None
    except RecursionError:
        raise MalformedInput("nested too deeply") from None


def query_of(type_: type[T]) -> Callable[[], T]:
    """Returns a function that reads the query of the current request as the Struct. It raises InvalidInput, also for an unknown
    parameter."""

    @cached_by_text
    def read_query(text: str) -> T:
        return from_texts(_params(text), type_)

    return lambda: read_query(api_context().query)


def queries_of(first: type[T], second: type[U]) -> Callable[[], tuple[T, U]]:
    """Like query_of, for two Structs in one query. Raises InvalidInput."""

    @cached_by_text
    def read_query(text: str) -> tuple[T, U]:
        params = _params(text)
        second_params = {name: params.pop(name) for name in second.__struct_fields__ if name in params}
        return from_texts(params, first), from_texts(second_params, second)

    return lambda: read_query(api_context().query)


def _params(query: str) -> dict[str, str]:
    """The first of several values counts. An empty value is kept, since it is most likely a variable that was not set."""
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def from_texts(params: dict[str, str], type_: type[T]) -> T:
    """Converts texts to a Struct; a field that holds an object or an array is parsed as JSON. Raises InvalidInput."""
    try:
        objects = _objects(type_)
        values = {name: _value(name, text, objects.get(name)) for name, text in params.items()}
        found = msgspec.convert(values, type_, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput([_input_error(error, type_)]) from None
    for name in params:
        if getattr(found, name) is None:  # msgspec reads the text "null" as None
            expected = _describe_type(get_type_hints(type_, include_extras=True)[name])
            raise InvalidInput([InputError(f"/{name}", f"expected {expected}")])
    return found


@lru_cache
def _objects(type_: type[msgspec.Struct]) -> dict[str, type]:
    """The fields that hold objects (dict) or arrays (list), by name."""
    found = {field.name: field.default_factory for field in msgspec.structs.fields(type_)}
    return {name: factory for name, factory in found.items() if factory in (dict, list)}


def _value(name: str, text: str, holds: type | None) -> Any:
    """An array may be given as JSON, or as its only text."""
    if holds is list and not text.startswith("["):
        return [text]
    return _from_json(name, text) if holds else text


def _from_json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput([InputError(f"/{name[:80]}", f"this is no JSON: {error}")]) from None


def _input_error(error: msgspec.ValidationError, type_: type[msgspec.Struct]) -> InputError:
    """Describes what was expected in words for a person."""
    detail, _, path = str(error).partition(" - at `$")
    names, field = list(type_.__struct_fields__), re.split(r"[.\[`]", path.removeprefix("."))[0]
    if field in names:
        expected = _describe_type(get_type_hints(type_, include_extras=True)[field])
        return InputError(f"/{field}", f"expected {expected}" if expected else detail[:1].lower() + detail[1:])
    unknown = re.search(r"unknown field `(.+)`", detail)
    if unknown:
        close = get_close_matches(unknown[1][:80], names, n=1)
        suggestion = f" (did you mean {close[0]}?)" if close else ""
        return InputError("", f"there is no option {unknown[1][:80]}{suggestion}; there are: {', '.join(names)}")
    return InputError("", detail[:1].lower() + detail[1:])


def _describe_type(hint: Any) -> str:
    """Describes the values of a field from its type; empty if the type has no description."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if isinstance(hint, EnumType):
        return "one of " + ", ".join(hint)
    if hint is bool:
        return "true or false"
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    described = [note.description for note in notes if note.description]
    return described[0] if described else next(filter(None, map(_describe_type, get_args(hint))), "")
