"""Converts tensors of the Open Inference Protocol to measurements, and predictions to tensors."""

import re
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from api.http.body import read_json
from api.inputs.measurements import MeasurementInput, in_flat, in_rows
from api.inputs.tabular import check_rows, from_columns, measurements
from models.feature import Feature, FeatureType
from models.input_errors import InputError, InvalidInput, listed
from models.parquet_rows import Cell
from models.results import Prediction
from models.schema import Schema
from models.validation import to_input_error

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
Name = Annotated[str, Meta(max_length=200)]
Parameters = Annotated[dict[Name, bool | float | Annotated[str, Meta(max_length=1000)] | None], Meta(max_length=100)]
Length = Annotated[  # 3.0 is an integer in JSON Schema, and not for msgspec
    float, Meta(ge=1, le=10_000_000, multiple_of=1, extra_json_schema={"type": "integer"})
]
Shape = Annotated[list[Length], Meta(min_length=1, max_length=2)]

NESTED = re.compile(rb"\[\s*\[")
CONTENT_TYPES = (None, "np", "pd", "str", "datetime")  # MLServer's content types that mean plain JSON values
# The JSON type of a value. UINT64 is limited by msgspec's bounds.
TYPES: dict[Datatype, Any] = {
    "BOOL": bool,
    "UINT8": Annotated[int, Meta(ge=0, lt=2**8)],
    "UINT16": Annotated[int, Meta(ge=0, lt=2**16)],
    "UINT32": Annotated[int, Meta(ge=0, lt=2**32)],
    "UINT64": Annotated[int, Meta(ge=0, le=2**63 - 1)],
    "INT8": Annotated[int, Meta(ge=-(2**7), lt=2**7)],
    "INT16": Annotated[int, Meta(ge=-(2**15), lt=2**15)],
    "INT32": Annotated[int, Meta(ge=-(2**31), lt=2**31)],
    "INT64": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "FP16": float,
    "FP32": float,
    "FP64": float,
    "BYTES": str,
}
_CELL = {"type": ["boolean", "number", "string", "null"]}
VALUES = {"type": "array", "items": {"anyOf": [_CELL, {"type": "array", "items": _CELL}]}, "minItems": 1}
FEATURE_DATATYPES: dict[FeatureType, Datatype] = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}


class Tensor(Struct, frozen=True, forbid_unknown_fields=True, rename={"lengths": "shape"}):
    """``data`` in row-major order, flat or in a list for each row; null is a missing value."""

    name: Name
    lengths: Shape
    datatype: Datatype
    data: Annotated[Raw, Meta(description="an array of values, or of arrays of values", extra_json_schema=VALUES)]
    parameters: Parameters | None = None

    @property
    def shape(self) -> list[int]:
        return [int(length) for length in self.lengths]


class NumPy(Struct, frozen=True):
    """As MLServer says that it is an array of NumPy's."""

    content_type: Literal["np"] = "np"


class OutputTensor(Struct, frozen=True):
    """``data`` in row-major order, flat."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]
    parameters: NumPy = NumPy()


def rows_of(inputs: Sequence[Tensor], schema: Schema, max_rows: int) -> MeasurementInput:
    """Reads the measurements in one tensor of (rows, features) or (features,), or in one of (rows,) or (rows, 1) per feature.
    Raises InvalidInput, MalformedInput or TooManyRows."""
    if len(inputs) == 1 and not _is_column(inputs[0], schema):
        return _from_matrix(inputs[0], schema, max_rows)
    return _from_columns(inputs, schema, max_rows)


def outputs_of(predictions: Sequence[Prediction], names: Sequence[str]) -> list[OutputTensor]:
    """The requested outputs: ``predict`` (rows, 1) and ``predict_proba`` (rows, classes)."""
    return [(_labels if name == "predict" else _probabilities)(predictions) for name in names]


def datatype_of(labels: Sequence[Any]) -> Datatype:
    kinds = {type(label) for label in labels}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else "BYTES"


def datatype_of_feature(feature: Feature) -> Datatype:
    return FEATURE_DATATYPES.get(feature.type, "BYTES")


def _is_column(tensor: Tensor, schema: Schema) -> bool:
    return tensor.name in schema.names and tensor.shape[1:] in ([], [1])


def _from_matrix(tensor: Tensor, schema: Schema, max_rows: int) -> MeasurementInput:
    width = len(schema.features)
    if tensor.shape[-1] != width:
        detail = f"expected [rows, {width}] or [{width}] ({listed(schema.names)}), got {tensor.shape}"
        raise InvalidInput([InputError("/inputs/0/shape", detail)])
    check_rows(tensor.shape[0] if len(tensor.shape) == 2 else 1, max_rows)
    values = _values(tensor, 0)
    columns = [_as_feature_type(values[index::width], feature) for index, feature in enumerate(schema.features)]
    names, at = schema.names, "/inputs/0/data"
    is_nested = NESTED.match(tensor.data) is not None
    locate = (in_rows if is_nested else in_flat)(names, at)
    return MeasurementInput(measurements(names, zip(*columns, strict=True), at), at, locate)


def _from_columns(inputs: Sequence[Tensor], schema: Schema, max_rows: int) -> MeasurementInput:
    features = {feature.name: feature for feature in schema.features}
    columns: dict[str, list[Cell]] = {}
    for index, tensor in enumerate(inputs):
        if tensor.name in columns:
            raise InvalidInput([InputError(f"/inputs/{index}/name", f"the input {tensor.name} comes twice")])
        if tensor.shape[1:] not in ([], [1]):
            raise InvalidInput([InputError(f"/inputs/{index}/shape", f"expected [rows] or [rows, 1], got {tensor.shape}")])
        check_rows(tensor.shape[0], max_rows)
        values = _values(tensor, index)
        columns[tensor.name] = _as_feature_type(values, features[tensor.name]) if tensor.name in features else values
    pointers = {tensor.name: f"/inputs/{index}/data" for index, tensor in enumerate(inputs)}
    return from_columns(columns, pointers, "/inputs")


def _values(tensor: Tensor, index: int) -> list[Cell]:
    """The values of a tensor as a flat list. Raises InvalidInput or MalformedInput."""
    at = f"/inputs/{index}"
    content_type = (tensor.parameters or {}).get("content_type")
    if content_type not in CONTENT_TYPES:
        raise InvalidInput([InputError(f"{at}/parameters/content_type", f"{content_type} is not accepted: send plain values")])
    to_error, value = partial(to_input_error, at=f"{at}/data"), TYPES[tensor.datatype] | None
    if NESTED.match(tensor.data):
        lists: list[list[Cell]] = read_json(tensor.data, list[list[value]], to_error)  # type: ignore[valid-type]
        if [len(lists), *{len(each) for each in lists}] != [tensor.shape[0], prod(tensor.shape[1:])]:
            raise InvalidInput([InputError(f"{at}/data", f"its lists are not of the shape {tensor.shape}")])
        return [cell for each in lists for cell in each]
    values: list[Cell] = read_json(tensor.data, list[value], to_error)  # type: ignore[valid-type]
    if len(values) != prod(tensor.shape):
        detail = f"expected {prod(tensor.shape)} values, as the shape {tensor.shape} says, got {len(values)}"
        raise InvalidInput([InputError(f"{at}/data", detail)])
    return values


def _as_feature_type(values: list[Cell], feature: Feature) -> list[Cell]:
    """Converts 0 and 1 to booleans, since a numeric tensor cannot hold booleans."""
    if feature.type != "boolean":
        return values
    return [bool(value) if value in (0, 1) else value for value in values]


def _labels(predictions: Sequence[Prediction]) -> OutputTensor:
    labels = [each.prediction for each in predictions]
    datatype = datatype_of(labels)
    data = [label if isinstance(label, str) else str(label) for label in labels] if datatype == "BYTES" else labels
    return OutputTensor("predict", [len(data), 1], datatype, data)


def _probabilities(predictions: Sequence[Prediction]) -> OutputTensor:
    shares = [share for each in predictions for share in (each.probabilities or {}).values()]
    return OutputTensor("predict_proba", [len(predictions), len(shares) // len(predictions)], "FP64", shares)
