"""A feature of a model: which JSON values are valid, and how they are encoded as the numbers that an estimator gets."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time
from functools import cached_property
from math import isnan, nan
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from models.input_errors import kind_of

MAX_NAME = 200  # characters of a column, a category or a class
MAX_TEXT = 10_000  # characters of a text
UNKNOWN = -1.0  # the code of a category that the model does not know

FeatureType = Literal["number", "integer", "boolean", "category", "date", "text"]
Unknown = Literal["refuse", "ignore"]
Value = float | bool | str | None
Encoded = float | str | None  # what an estimator gets; text only for features of type text

NUMBERS = ("number", "integer")
TEXTS = ("category", "text")
TAKES = {
    "number": "a number",
    "integer": "a number",
    "boolean": "true or false",
    "category": "text",
    "date": "a date such as 2026-01-31 or 2026-01-31T12:30:00Z",
    "text": f"text of at most {MAX_TEXT:,} characters",
}


class Feature(Struct, frozen=True, dict=True, omit_defaults=True):
    """``minimum``, ``maximum`` and ``quantiles`` (1, 25, 50, 75 and 99 %) are of numbers; of dates the first two, as text.
    ``missing_rate`` is the share of training rows without a value; where it is not 0, null is taken, or nothing at all.
    ``unknown`` says what becomes of a category that was not in the training data. ``dtype``: of an imported model that takes a
    data frame, pandas' name for what the column holds; it gets the values as they are sent, and what it cannot take is its own
    error."""

    name: str
    type: FeatureType
    example: float | bool | str
    minimum: float | str | None = None
    maximum: float | str | None = None
    quantiles: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    unknown: Unknown = "refuse"
    missing_rate: float = 0.0
    dtype: str = ""

    @property
    def is_raw(self) -> bool:
        """Whether the model gets the values as they are sent, not encoded as numbers."""
        return bool(self.dtype)

    @property
    def may_be_missing(self) -> bool:
        return self.missing_rate > 0 or self.is_raw

    @property
    def refuses_unknown(self) -> bool:
        """Whether only ``categories`` are taken. To a raw column of texts any text is known; pandas' categoricals are fixed."""
        return self.type == "category" and (self.dtype == "category" if self.is_raw else self.unknown == "refuse")

    @property
    def max_text(self) -> int:
        return MAX_TEXT if self.type == "text" or (self.is_raw and not self.categories) else MAX_NAME

    @property
    def is_plain(self) -> bool:
        """Whether the estimator gets the JSON value unchanged."""
        return self.type in NUMBERS and not self.may_be_missing and not self.is_raw

    @cached_property
    def codes(self) -> dict[str, float]:
        return {category: float(place) for place, category in enumerate(self.categories)}

    @property
    def json_type(self) -> Any:
        """The type that msgspec validates. Dates are validated when they are encoded."""
        text = LongText if self.max_text == MAX_TEXT else Text
        number: Any = int | float if self.is_raw else float
        taken: Any = number if self.type in NUMBERS else bool if self.type == "boolean" else text
        if self.refuses_unknown:
            taken = Literal[self.categories]
        return taken | None if self.may_be_missing else taken

    def encode(self, column: Sequence[Any]) -> Sequence[Any]:
        """Encode valid JSON values as numbers: a category as its index in ``categories``, a date as seconds since 1970, null as
        NaN. Raw values and free texts stay as they are. Raises ValueError or OverflowError for text that is not a date."""
        if self.is_raw:
            if self.type == "date":
                [seconds(value) for value in column if value is not None]
            return list(column)
        if self.type == "text":
            return column
        return [nan if value is None else self._encoder(value) for value in column]

    def decode(self, number: Any) -> Value:
        """Return the value that was encoded; None for a missing value and for an unknown category."""
        if self.is_raw:
            value: Value = number
            return value
        if self.type == "text":
            return None if number is None else str(number)
        if isnan(number) or (self.type == "category" and number == UNKNOWN):
            return None
        return self._decoder(number)

    def invalid_reason(self, value: Any) -> str:
        """Return why a JSON value is invalid; empty if it is valid."""
        if value is None and self.may_be_missing:
            return ""
        if not self._is_of_type(value):
            return f"expected {TAKES[self.type]}{' or null' if self.may_be_missing else ''}, got {kind_of(value)}"
        if self.refuses_unknown and value not in self.codes:
            return f"expected one of {_shown(self.categories)}, got {value[:MAX_NAME]}"
        if self.type == "date" and not _is_date(value):
            return f"expected {TAKES['date']}, got {value[:MAX_NAME]}"
        return ""

    def json_schema(self) -> dict[str, Any]:
        names = {"boolean": "boolean", "category": "string", "date": "string", "text": "string"}
        kind: Any = names.get(self.type, "number")
        found: dict[str, Any] = {"type": [kind, "null"] if self.may_be_missing else kind, "examples": [self.example]}
        if self.refuses_unknown:
            found["enum"] = [*self.categories, *([None] if self.may_be_missing else [])]
        if self.type == "date":
            found["description"] = TAKES["date"]
        if self.type == "text":
            found["maxLength"] = MAX_TEXT
        if self.minimum is not None:
            found["description"] = f"{found.get('description', '')} seen from {self.minimum} to {self.maximum}".strip()
        return found

    @cached_property
    def _encoder(self) -> Callable[[Any], float]:
        if self.type == "category":
            return lambda value: self.codes.get(value, UNKNOWN)
        return seconds if self.type == "date" else float

    @cached_property
    def _decoder(self) -> Callable[[float], Value]:
        if self.type == "category":
            return lambda number: self.categories[int(number)]
        if self.type == "boolean":
            return bool
        return date_text if self.type == "date" else float

    def _is_of_type(self, value: Any) -> bool:
        if self.type == "boolean":
            return isinstance(value, bool)
        if self.type in NUMBERS:
            return isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(value, str) and len(value) <= self.max_text


Text = Annotated[str, Meta(max_length=MAX_NAME)]
LongText = Annotated[str, Meta(max_length=MAX_TEXT)]


def seconds(text: str) -> float:
    """Convert an ISO 8601 date or date-time to seconds since 1970, in UTC by default. Raises ValueError or OverflowError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()


def date_text(number: float) -> str:
    moment = datetime.fromtimestamp(number, UTC)
    return moment.date().isoformat() if moment.time() == time() else moment.isoformat().replace("+00:00", "Z")


def _is_date(text: str) -> bool:
    try:
        seconds(text)
    except (ValueError, OverflowError):
        return False
    return True


def _shown(categories: tuple[str, ...]) -> str:
    return ", ".join(categories[:12]) + (" …" if len(categories) > 12 else "")
