"""What a model takes: its features, read from its training data. Checks a request's body before anything is queued."""

import json
import re
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Struct

Row = tuple[float, ...]

MOST_ERRORS = 20
LONGEST_NAME = 200  # characters of a column or a class
EXPLAIN_UP_TO = 1_000_000  # bytes; a larger body gets its first error only
_PATH_STEP = re.compile(r"\[(\d+)\]|\.([^.\[]+)")


class Fault(Struct, frozen=True):
    """One thing wrong with the input, at an RFC 6901 pointer."""

    pointer: str
    detail: str


class MalformedInput(ValueError):
    """The body is not JSON; the message says where."""


class InvalidInput(ValueError):
    """The body is JSON, but not what the model takes."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults[0].detail)
        self.faults = faults


class TooManyRows(ValueError):
    """More measurements in one request than may be."""


class Feature(Struct, frozen=True):
    name: str
    type: Literal["number"]
    minimum: float
    maximum: float
    example: float


class Measurements(Struct, frozen=True):
    """Checked input: rows in the schema's order of features. ``single`` if it was one object and not an array."""

    rows: list[Row]
    single: bool

    def pack(self) -> bytes:
        return msgspec.msgpack.encode(self.rows)


def unpack(payload: bytes) -> list[list[float]]:
    return msgspec.msgpack.decode(payload, type=list[list[float]])


class Schema(Struct, frozen=True, dict=True):
    features: tuple[Feature, ...]
    target: str
    classes: tuple[str | int | float | bool, ...]

    @cached_property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]

    def check(self, body: bytes, max_rows: int) -> Measurements:
        """Raises MalformedInput, InvalidInput or TooManyRows."""
        if not body.strip():
            raise MalformedInput("the body is empty: send one measurement (an object) or an array of them")
        single = body.lstrip()[:1] == b"{"
        try:
            decoded = (self._one if single else self._many).decode(body)
        except msgspec.ValidationError as error:
            raise InvalidInput(self._explain(body) or [_fault(error)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedInput(str(error)) from None
        except RecursionError:
            raise MalformedInput("nested too deeply") from None
        rows = [decoded] if single else decoded
        if not rows:
            raise InvalidInput([Fault("", "the array is empty: send at least one measurement")])
        if len(rows) > max_rows:
            raise TooManyRows(f"{len(rows)} measurements in one request; at most {max_rows}")
        if body.count(b":") != len(rows) * len(self.features):
            refuse_duplicates(body)
        return Measurements([msgspec.structs.astuple(row) for row in rows], single)

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of one measurement."""
        properties = {f.name: {"type": "number", "examples": [f.example]} for f in self.features}
        return {"type": "object", "properties": properties, "required": self.names, "additionalProperties": False}

    @cached_property
    def _places(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _row(self) -> type[Struct]:
        """A field per feature; its name in Python is its place, so that any column name will do."""
        fields = [(f"f{place}", float) for place in range(len(self.features))]
        renamed = {f"f{place}": name for place, name in enumerate(self.names)}
        return msgspec.defstruct("Measurement", fields, rename=renamed, forbid_unknown_fields=True)

    @cached_property
    def _one(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self._row)

    @cached_property
    def _many(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(list[self._row])  # type: ignore[name-defined]

    def _explain(self, body: bytes) -> list[Fault]:
        """All that is wrong, up to MOST_ERRORS; empty if it cannot be told."""
        if len(body) > EXPLAIN_UP_TO:
            return []
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return []
        rows = decoded if isinstance(decoded, list) else [decoded]
        faults: list[Fault] = []
        for place, row in enumerate(rows):
            faults += self._faults_of(row, f"/{place}" if isinstance(decoded, list) else "")
            if len(faults) >= MOST_ERRORS:
                break
        return faults[:MOST_ERRORS]

    def _faults_of(self, row: Any, at: str) -> list[Fault]:
        if not isinstance(row, dict):
            return [Fault(at, f"expected an object with {_listed(self.names)}, got {_kind(row)}")]
        unknown = [name for name in row if name not in self._places][:MOST_ERRORS]
        faults = [Fault(f"{at}/{_escape(name)}", self._unknown(name, place)) for place, name in enumerate(unknown)]
        for name in self.names:
            if len(faults) >= MOST_ERRORS:
                break
            pointer = f"{at}/{_escape(name)}"
            if name not in row:
                faults.append(Fault(pointer, "missing"))
            elif isinstance(row[name], bool) or not isinstance(row[name], int | float):
                faults.append(Fault(pointer, f"expected a number, got {_kind(row[name])}"))
        return faults

    def _unknown(self, name: str, place: int) -> str:
        """With a suggestion for the first few: finding one takes time."""
        worth_it = place < 3 and len(name) <= LONGEST_NAME and len(self.names) <= 100
        close = get_close_matches(name, self.names, n=1) if worth_it else []
        return "unknown field" + (f": did you mean {close[0]}?" if close else f"; the model takes {_listed(self.names)}")


def refuse_duplicates(body: bytes) -> None:
    """Raises InvalidInput. For a body that has been decoded once already, so it is flat and bounded."""

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in items:
            if name in seen:
                raise InvalidInput([Fault("", f"the field {name} is given twice")])
            seen.add(name)

    json.loads(body, object_pairs_hook=pairs)


def _fault(error: msgspec.ValidationError) -> Fault:
    detail, _, path = str(error).partition(" - at `$")
    steps = _PATH_STEP.findall(path.rstrip("`"))
    return Fault("".join(f"/{index or _escape(name)}" for index, name in steps), detail[:1].lower() + detail[1:])


def _escape(name: str) -> str:
    return name[:LONGEST_NAME].replace("~", "~0").replace("/", "~1")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (" …" if len(names) > 12 else "")


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "text", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")
