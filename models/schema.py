"""A model's schema, read from its training data. It validates a request's body before anything is queued."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from models.feature import MAX_TEXT, Encoded, Feature, Value
from models.validation import Checker, Row

Task = Literal["classification", "regression"]


class Measurements(Struct, frozen=True):
    """Checked input: rows in the schema's order of features. ``single`` if it was one object and not an array."""

    rows: list[Row]
    single: bool

    def pack(self) -> bytes:
        return msgspec.msgpack.encode(self.rows)


_numbers = msgspec.msgpack.Decoder(list[list[float]])
_values = msgspec.msgpack.Decoder(list[list[Value]])
_numbers_and_texts = msgspec.msgpack.Decoder(list[list[Encoded]])


FLOAT_BYTES = 24  # of the longest float in JSON
MAX_DATE = 40
ESCAPED = 6  # bytes of a character in JSON, at most


class ResultSize(NamedTuple):
    """The largest size in bytes, as JSON, of a label, of a row's probabilities, and of a row that is returned with the result."""

    label: int
    probabilities: int
    input: int


class Schema(Struct, frozen=True, dict=True, omit_defaults=True):
    """``classes`` are those of a classification. ``ignored`` columns were in the training data and are of no use to a model
    (texts that nearly all differ, columns without any value): they are taken, and dropped."""

    features: tuple[Feature, ...]
    target: str
    classes: tuple[str | int | float | bool, ...] = ()
    task: Task = "classification"
    ignored: tuple[str, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]

    @cached_property
    def is_plain(self) -> bool:
        """Whether all features are numbers and none may be missing."""
        return all(feature.is_plain for feature in self.features)

    @cached_property
    def texts(self) -> list[int]:
        """The places of the features that reach the estimator as texts; all others are numbers."""
        return [place for place, feature in enumerate(self.features) if feature.type == "text"]

    @cached_property
    def is_raw(self) -> bool:
        """Whether the model gets the values as they are sent."""
        return any(feature.is_raw for feature in self.features)

    def unpack(self, payload: bytes) -> list[list[Any]]:
        """Return the rows that ``Measurements.pack`` packed."""
        if self.is_raw:
            return _values.decode(payload)
        return (_numbers_and_texts if self.texts else _numbers).decode(payload)

    def check(self, body: bytes, max_rows: int, drop_extra: bool = False) -> Measurements:
        """Validate a body; ``drop_extra`` drops unknown fields. Raises MalformedInput, InvalidInput or TooManyRows."""
        rows, single = self._checker.check(body, max_rows, drop_extra)
        return Measurements(rows, single)

    def decode(self, row: Sequence[Any]) -> dict[str, Value]:
        """Decode a row into the values of the training data, by feature name."""
        if self.is_plain:
            return dict(zip(self.names, row, strict=True))
        return {feature.name: feature.decode(number) for feature, number in zip(self.features, row, strict=True)}

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of one measurement."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {f.name: f.json_schema() for f in self.features} | {name: {} for name in self.ignored},
            "required": [f.name for f in self.features if not f.may_be_missing],
            "additionalProperties": False,
        }

    @cached_property
    def result_size(self) -> ResultSize:
        labels = [len(msgspec.json.encode(label)) for label in self.classes] if self.task == "classification" else []
        probabilities = sum(length + FLOAT_BYTES + len('"":,') for length in labels)
        values = [len(msgspec.json.encode(feature.name)) + _value_bytes(feature) + len(":,") for feature in self.features]
        return ResultSize(max(labels, default=FLOAT_BYTES), probabilities, sum(values))

    @cached_property
    def _checker(self) -> Checker:
        return Checker(self.features, self.ignored)


def _value_bytes(feature: Feature) -> int:
    """Return the largest size in bytes, as JSON, of a value of the feature."""
    if feature.type == "category" and feature.is_raw and not feature.categories:
        return 2  # the rest is counted by what was sent
    if feature.type == "category":
        return max((len(msgspec.json.encode(category)) for category in feature.categories), default=len("null"))
    return {"date": MAX_DATE, "text": ESCAPED * MAX_TEXT + len('""')}.get(feature.type, FLOAT_BYTES)
