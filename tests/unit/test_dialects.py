"""Tensors, data frames and CSV as measurements, and where each error points."""

import json
from typing import Any

import msgspec
import pytest
from pandas._libs.parsers import STR_NA_VALUES  # type: ignore[import-not-found]

from api.http.problems import HTTPProblem
from api.http.protocol_errors import error_members
from api.inputs.tabular import MISSING, from_columns, from_csv, from_lists
from api.protocols.tensors import Tensor, outputs_of, rows_of
from models.feature import Feature
from models.input_errors import InputError, InvalidInput, TooManyRows
from models.packaged import packaged_schema
from models.results import Prediction
from models.schema import Schema

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
PETS = Schema(
    (
        Feature("age", "number", 1.0, missing_rate=0.1),
        Feature("tame", "boolean", True),
        Feature("kind", "category", "cat", categories=("NA", "cat", "dog")),
        Feature("born", "date", "2026-01-31"),
    ),
    "fed",
    (False, True),
)
LONE = Schema((Feature("x", "number", 1.0),), "y")


def iris() -> Schema:
    found = packaged_schema("iris")
    assert found
    return found


def tensor(shape: list[int], data: Any, datatype: str = "FP32", name: str = "predict", **more: Any) -> Tensor:
    sent = {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}
    return msgspec.json.decode(json.dumps(sent), type=Tensor)


def rows(*inputs: Tensor, schema: Schema | None = None, max_rows: int = 10) -> list[list[Any]]:
    decoded = json.loads(rows_of(inputs, schema or iris(), max_rows).body)
    return [list(row.values()) for row in decoded]


def fault(call: Any, *args: Any, **kwargs: Any) -> InputError:
    with pytest.raises(InvalidInput) as refused:
        call(*args, **kwargs)
    return refused.value.errors[0]


# Tensors


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2, 4], [[1, 2, 3, 4], [5, 6, 7, 8]]), ([2, 4], [1, 2, 3, 4, 5, 6, 7, 8])],
)
def test_a_matrix_nested_or_flat_is_rows_in_the_order_of_the_features(shape: list[int], data: Any) -> None:
    decoded = json.loads(rows_of([tensor(shape, data)], iris(), 10).body)
    assert decoded == [dict(zip(NAMES, row, strict=True)) for row in ([1, 2, 3, 4], [5, 6, 7, 8])]


def test_a_vector_is_one_row() -> None:
    assert rows(tensor([4], [5.1, 3.5, 1.4, 0.2])) == [[5.1, 3.5, 1.4, 0.2]]


def test_columns_may_come_in_any_order_flat_or_in_lists_of_one() -> None:
    first, second = tensor([2], ["cat", None], "BYTES", "kind"), tensor([2, 1], [[1], [0]], "UINT8", "tame")
    assert json.loads(rows_of([first, second], PETS, 10).body) == [{"kind": "cat", "tame": True}, {"kind": None, "tame": False}]


def test_one_input_with_the_name_of_the_only_feature_is_its_column() -> None:
    assert rows(tensor([3], [1, 2, 3], name="x"), schema=LONE) == [[1], [2], [3]]
    assert rows(tensor([3, 1], [1, 2, 3]), schema=LONE) == [[1], [2], [3]]


def test_only_booleans_take_0_and_1_for_false_and_true() -> None:
    matrix, column = tensor([2, 4], [1, 0, 1, 0, 0, 1, 0, 2], "INT64"), tensor([2], [2, 1.0], "FP64", "tame")
    assert repr(rows(matrix, schema=PETS)) == "[[1, False, 1, 0], [0, True, 0, 2]]"
    assert repr(rows(column, schema=PETS)) == "[[2.0], [True]]"


@pytest.mark.parametrize(
    ("datatype", "taken", "refused"),
    [
        ("BOOL", [True, None], 1),
        ("BYTES", ["a", None], 1),
        ("FP16", [1, 1.5], "1"),
        ("FP64", [1e300, None], True),
        ("INT8", [-128, 127], 128),
        ("UINT8", [0, 255], 256),
        ("INT16", [-32768, 32767], -32769),
        ("UINT16", [0, 65535], -1),
        ("INT32", [-(2**31), 2**31 - 1], 2**31),
        ("UINT32", [0, 2**32 - 1], 2**32),
        ("INT64", [-(2**63), 2**63 - 1], 1.5),
        ("UINT64", [0, 2**63 - 1], 10**30),
    ],
)
def test_each_datatype_has_its_values(datatype: str, taken: list[Any], refused: Any) -> None:
    assert rows(tensor([2], taken, datatype, "kind"), schema=PETS) == [[each] for each in taken]
    assert fault(rows, tensor([2], [taken[0], refused], datatype, "kind"), schema=PETS).pointer == "/inputs/0/data/1"


@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [
        ([tensor([1, 3], [1, 2, 3])], "/inputs/0/shape"),
        ([tensor([3], [1, 2, 3])], "/inputs/0/shape"),
        ([tensor([2, 4], [1, 2, 3, 4])], "/inputs/0/data"),
        ([tensor([1, 4], [1, 2, 3, 4, 5])], "/inputs/0/data"),
        ([tensor([2, 4], [[1, 2, 3, 4], [1, 2, 3]])], "/inputs/0/data"),
        ([tensor([1, 4], [[1, 2, 3, 4], [1, 2, 3, 4]])], "/inputs/0/data"),
        ([tensor([1, 4], [[[1], [2], [3], [4]]])], "/inputs/0/data/0/0"),
        ([tensor([1, 4], {"a": 1})], "/inputs/0/data"),
        ([tensor([1, 4], [1, 2, 3, 4], parameters={"content_type": "base64"})], "/inputs/0/parameters/content_type"),
        ([tensor([2], [1, 2], name="petal_width"), tensor([1], [1], name="petal_length")], "/inputs"),
        ([tensor([1], [1], name="petal_width"), tensor([1], [1], name="petal_width")], "/inputs/1/name"),
        ([tensor([1], [1], name="petal_width"), tensor([1, 4], [1, 2, 3, 4])], "/inputs/1/shape"),
    ],
)
def test_a_tensor_that_is_not_taken_is_pointed_at(inputs: list[Tensor], pointer: str) -> None:
    assert fault(rows, *inputs).pointer == pointer


def test_too_many_rows_are_refused() -> None:
    for inputs in ([tensor([11, 4], [])], [tensor([11], [], name=name) for name in NAMES]):
        with pytest.raises(TooManyRows):
            rows(*inputs)


@pytest.mark.parametrize("shape", [[], [1, 4, 1], [0, 4], [-1, 4], [1.5, 4], ["1", 4], [10**9, 4]])
def test_a_shape_has_one_or_two_sizes(shape: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        tensor(shape, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("labels", "datatype", "data"),
    [
        (["a", "b"], "BYTES", ["a", "b"]),
        ([1, 2], "INT64", [1, 2]),
        ([1.0, 2.5], "FP64", [1.0, 2.5]),
        ([True, False], "BOOL", [True, False]),
        ([1, "a"], "BYTES", ["1", "a"]),
    ],
)
def test_labels_as_a_tensor(labels: list[Any], datatype: str, data: list[Any]) -> None:
    (output,) = outputs_of([Prediction(prediction=label) for label in labels], ["predict"])
    assert (output.name, output.shape, output.datatype, output.data) == ("predict", [2, 1], datatype, data)


def test_probabilities_as_a_tensor() -> None:
    predictions = [Prediction(prediction="a", probabilities={"a": 0.75, "b": 0.25}) for _ in range(3)]
    outputs = outputs_of(predictions, ["predict_proba", "predict"])
    assert [each.name for each in outputs] == ["predict_proba", "predict"]
    assert (outputs[0].shape, outputs[0].datatype, outputs[0].data) == ([3, 2], "FP64", [0.75, 0.25] * 3)


# Data frames


def test_lists_have_a_value_for_each_feature() -> None:
    assert json.loads(from_lists(b"[[1,2,3,4]]", iris(), 10, "/inputs").body) == [dict(zip(NAMES, (1, 2, 3, 4), strict=True))]
    wrong = fault(from_lists, b"[[1,2,3,4],[1,2]]", iris(), 10, "/inputs")
    assert (wrong.pointer, wrong.detail) == ("/inputs/1", f"expected 4 values ({', '.join(NAMES)}), got 2")
    assert fault(from_lists, b"[[1,2,3,{}]]", iris(), 10, "/inputs").pointer == "/inputs/0/3"
    with pytest.raises(TooManyRows):
        from_lists(b"[[1,2,3,4],[1,2,3,4]]", iris(), 1, "/inputs")


def test_columns_are_of_one_length() -> None:
    measurements = from_columns({"a": [1, 2], "b": ["x", None]}, {}, "/inputs")
    assert json.loads(measurements.body) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert fault(from_columns, {"a": [1, 2], "b": [1]}, {}, "/inputs") == InputError(
        "/inputs", "the columns are not of one length: a 2, b 1"
    )


# CSV


def csv(text: str, max_rows: int = 10) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(from_csv(text.encode(), PETS, max_rows).body)
    return found


def test_missing_values_are_those_of_a_training() -> None:
    assert MISSING == STR_NA_VALUES


def test_each_text_is_read_as_its_feature_takes_it() -> None:
    """Of a column that the model does not take one row is enough."""
    text = "\ufeffage,tame,kind,born,colour\r\n1.5,True,cat,2026-01-31,3\r\n\r\n,0,NA,2026-01-31,\r\nNA,FALSE,nan,,x\r\n"
    assert csv(text) == [
        {"age": 1.5, "tame": True, "kind": "cat", "born": "2026-01-31", "colour": "3"},
        {"age": None, "tame": False, "kind": "NA", "born": "2026-01-31"},
        {"age": None, "tame": False, "kind": None, "born": None},
    ]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999", "1_000", "one"])
def test_invalid_number_stays_text_and_is_refused(text: str) -> None:
    assert csv(f"age,tame\n{text},yes\n") == [{"age": text, "tame": "yes"}]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"age,age\n1,2\n", "name of its own"),
        (b"1,2\n3,4\n", "no header"),
        (b"age,tame\n1,true,3\n", "line 2 has 3 fields and the header 2"),
        (b'age,tame\n1,"true\n', "line 2"),
        (b"age\n\xff\n", "UTF-8"),
        (b"age\n\0\n", "NUL"),
    ],
)
def test_a_csv_that_cannot_be_read(body: bytes, says: str) -> None:
    with pytest.raises(HTTPProblem, match=says):
        from_csv(body, PETS, 10)


def test_csv_with_too_many_rows_is_refused() -> None:
    with pytest.raises(TooManyRows):
        csv("age\n" + "1\n" * 11)


# Errors


def test_errors_speak_the_dialect_of_their_route() -> None:
    assert error_members("/v2/models/iris/infer", 422, "/inputs/0: missing") == {"error": "/inputs/0: missing"}
    assert error_members("/v2", 503, "away") == {"error": "away"}
    codes = {status: error_members("/invocations", status, "away")["error_code"] for status in (400, 422, 500, 503, 504)}
    assert codes == {
        400: "BAD_REQUEST",
        422: "INVALID_PARAMETER_VALUE",
        500: "INTERNAL_ERROR",
        503: "TEMPORARILY_UNAVAILABLE",
        504: "INTERNAL_ERROR",
    }
    assert error_members("/invocations", 422, "missing")["message"] == "missing"
    assert error_members("/predict", 422, "missing") == error_members("/v2x", 422, "missing") == {}
