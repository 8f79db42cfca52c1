"""Validates a JSON body of measurements and encodes it as rows of numbers. Errors have JSON pointers."""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from operator import itemgetter
from typing import Any

import msgspec

from models.feature import MAX_NAME, Feature
from models.input_errors import InputError, InvalidInput, MalformedInput, TooManyRows, kind_of, listed

Row = tuple[Any, ...]  # numbers; of raw features the values as they were sent

MAX_ERRORS = 20
EXPLAIN_UP_TO = 1_000_000  # bytes; of a larger body only the first error is reported
_PATH_STEP = re.compile(r"\[(\d+)\]|\.([^.\[]+)")


class Checker:
    """Validates bodies against features. Columns in ``ignored`` are accepted and dropped."""

    def __init__(self, features: Sequence[Feature], ignored: Sequence[str]) -> None:
        self._features = features
        self._ignored = ignored
        self._names = [feature.name for feature in features]
        self._places = frozenset((*self._names, *ignored))
        self._plain = all(feature.is_plain for feature in features) and not ignored

    def check(self, body: bytes, max_rows: int, drop_extra: bool) -> tuple[list[Row], bool]:
        """Return rows of numbers in the order of the features, and whether the body was a single object. Raises MalformedInput,
        InvalidInput or TooManyRows."""
        if not body.strip():
            raise MalformedInput("the body is empty: send one measurement (an object) or an array of them")
        single = body.lstrip()[:1] == b"{"
        one, many = self._lenient if drop_extra else self._strict
        try:
            decoded = (one if single else many).decode(body)
        except msgspec.ValidationError as error:
            raise InvalidInput(self._explain(body, drop_extra) or [to_input_error(error)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedInput(str(error)) from None
        except RecursionError:
            raise MalformedInput("nested too deeply") from None
        rows = [decoded] if single else decoded
        if not rows:
            raise InvalidInput([InputError("", "the array is empty: send at least one measurement")])
        if len(rows) > max_rows:
            raise TooManyRows(f"{len(rows)} measurements in one request; at most {max_rows}")
        if not self._plain or drop_extra or body.count(b":") != len(rows) * len(self._features):
            refuse_duplicates(body)
        return self._encoded([msgspec.structs.astuple(row) for row in rows], body, drop_extra), single

    def _encoded(self, rows: list[tuple[Any, ...]], body: bytes, drop_extra: bool) -> list[Row]:
        if self._plain:
            return rows
        columns = list(zip(*rows, strict=True))[: len(self._features)]
        try:
            encoded = [feature.encode(column) for feature, column in zip(self._features, columns, strict=True)]
        except (ValueError, OverflowError):  # text that is not a date
            raise InvalidInput(
                self._explain(body, drop_extra) or [InputError("", "text that is no date where one belongs")]
            ) from None
        return list(zip(*encoded, strict=True))

    @cached_property
    def _strict(self) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]:
        return self._decoders(forbid_unknown=True)

    @cached_property
    def _lenient(self) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]:
        return self._decoders(forbid_unknown=False)

    def _decoders(self, forbid_unknown: bool) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]:
        """Return the decoders of one row and of many. Fields are named by position in Python, so that any column name works."""
        fields: list[Any] = [
            (f"f{place}", feature.json_type, *([None] if feature.may_be_missing else []))
            for place, feature in enumerate(self._features)
        ]
        fields += [(f"f{len(self._features) + place}", Any, None) for place in range(len(self._ignored))]
        renamed = {f"f{place}": name for place, name in enumerate((*self._names, *self._ignored))}
        row = msgspec.defstruct("Measurement", fields, rename=renamed, forbid_unknown_fields=forbid_unknown, kw_only=True)
        return msgspec.json.Decoder(row), msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def _explain(self, body: bytes, drop_extra: bool) -> list[InputError]:
        """Return up to MAX_ERRORS errors; empty if they cannot be found."""
        if len(body) > EXPLAIN_UP_TO:
            return []
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.ValidationError, RecursionError):
            return []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # truncated JSON: that is reported instead
            raise MalformedInput(str(error)) from None
        rows = decoded if isinstance(decoded, list) else [decoded]
        errors: list[InputError] = []
        for place, row in enumerate(rows):
            errors += self._errors_of(row, f"/{place}" if isinstance(decoded, list) else "", drop_extra)
            if len(errors) >= MAX_ERRORS:
                break
        return errors[:MAX_ERRORS]

    def _errors_of(self, row: Any, at: str, drop_extra: bool) -> list[InputError]:
        if not isinstance(row, dict):
            return [InputError(at, f"expected an object with {listed(self._names)}, got {kind_of(row)}")]
        unknown = [] if drop_extra else [name for name in row if name not in self._places][:MAX_ERRORS]
        errors = [InputError(f"{at}/{escape(name)}", self._unknown(name, place)) for place, name in enumerate(unknown)]
        for feature in self._features:
            if len(errors) >= MAX_ERRORS:
                break
            detail = feature.invalid_reason(row.get(feature.name)) if feature.name in row or feature.may_be_missing else "missing"
            if detail:
                errors.append(InputError(f"{at}/{escape(feature.name)}", detail))
        return errors

    def _unknown(self, name: str, place: int) -> str:
        """Describe an unknown field, with a suggestion for the first three: finding one takes time."""
        worth_it = place < 3 and len(name) <= MAX_NAME and len(self._names) <= 100
        close = get_close_matches(name, self._names, n=1) if worth_it else []
        return "unknown field" + (f": did you mean {close[0]}?" if close else f"; the model takes {listed(self._names)}")


def refuse_duplicates(body: bytes) -> None:
    """Raise InvalidInput if an object has a name twice. The body must have been decoded before, so it is flat and bounded."""

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name in map(itemgetter(0), items):
            if name in seen:
                raise InvalidInput([InputError("", f"the field {name} comes twice")])
            seen.add(name)

    try:
        json.loads(body, object_pairs_hook=pairs, parse_int=str, parse_float=str)  # str: int() refuses numbers of 5,000 digits
    except RecursionError:
        raise MalformedInput("nested too deeply") from None


def to_input_error(error: msgspec.ValidationError, at: str = "") -> InputError:
    """Convert msgspec's error. ``at`` is the pointer of the decoded value."""
    detail, _, path = str(error).partition(" - at `$")
    steps = _PATH_STEP.findall(path.rstrip("`").partition("[...]")[0])  # [...] is an object's key, which msgspec does not name
    return InputError(at + "".join(f"/{index or escape(name)}" for index, name in steps), detail[:1].lower() + detail[1:])


def escape(name: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901)."""
    return name[:MAX_NAME].replace("~", "~0").replace("/", "~1")
