"""Validation of measurements, and where each error points."""

import json
import time

import pytest

from models.feature import Feature
from models.input_errors import InvalidInput, MalformedInput, TooManyRows
from models.packaged import packaged_schema
from models.schema import Schema
from models.validation import Row

IRIS = packaged_schema("iris")
assert IRIS is not None
GOOD = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


def check(body: object, max_rows: int = 100) -> list[Row]:
    assert IRIS is not None
    return IRIS.check(body if isinstance(body, bytes) else json.dumps(body).encode(), max_rows).rows


def faults(body: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        check(body)
    return [(fault.pointer, fault.detail) for fault in refused.value.errors]


def test_one_measurement_and_a_batch() -> None:
    assert check(GOOD) == [(5.0, 3.2, 1.5, 0.3)]
    assert check([GOOD, {**GOOD, "petal_width": 2}]) == [(5.0, 3.2, 1.5, 0.3), (5.0, 3.2, 1.5, 2.0)]


def test_fields_may_come_in_any_order_and_integers_are_numbers() -> None:
    assert check({name: int(GOOD[name]) for name in reversed(GOOD)}) == [(5.0, 3.0, 1.0, 0.0)]


def test_packed_rows_come_back_exactly() -> None:
    assert IRIS is not None
    rows = IRIS.check(json.dumps({**GOOD, "petal_width": 0.1 + 0.2}).encode(), 1).pack()
    assert IRIS.unpack(rows) == [[5.0, 3.2, 1.5, 0.1 + 0.2]]


def test_all_errors_are_reported_at_once() -> None:
    body = [GOOD, {"sepal_length": "5", "sepal_width": True, "petal_lenght": 1.5, "petal_width": None}]
    assert faults(body) == [
        ("/1/petal_lenght", "unknown field: did you mean petal_length?"),
        ("/1/sepal_length", "expected a number, got text"),
        ("/1/sepal_width", "expected a number, got true or false"),
        ("/1/petal_length", "missing"),
        ("/1/petal_width", "expected a number, got null"),
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"sepal_length":1e999,"sepal_width":1,"petal_length":1,"petal_width":1}', "/sepal_length"),
        (b'{"sepal_length":' + b"9" * 5000 + b',"sepal_width":1,"petal_length":1,"petal_width":1}', "/sepal_length"),
        (b'[{"sepal_length":-1e999,"sepal_width":1,"petal_length":1,"petal_width":1}]', "/0/sepal_length"),
        (b'{"sepal_length":1,"sepal_length":2,"sepal_width":1,"petal_length":1,"petal_width":1}', ""),
        (b'{"sepal_length":1,"sepal_\\u006cength":2,"sepal_width":1,"petal_length":1,"petal_width":1}', ""),
        (b'{"sepal_length":' + b"[" * 100_000, "/sepal_length"),
        (b"[]", ""),
        (b"[[]]", "/0"),
        (b"3", ""),
        (b'"text"', ""),
        (b"null", ""),
    ],
)
def test_refused_with_a_pointer(body: bytes, pointer: str) -> None:
    assert faults(body)[0][0] == pointer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b'{"sepal_length":NaN,"sepal_width":1,"petal_length":1,"petal_width":1}',
        b"\xff\xfe",
        b'{"sepal_length":Infinity}',
        b"{} {}",
        b'{"another_field":',  # cut short, whatever else is wrong with it
    ],
)
def test_invalid_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedInput):
        check(body)


def test_a_deep_body_of_an_unknown_field_is_refused() -> None:
    with pytest.raises((MalformedInput, InvalidInput)):
        check(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_too_many_rows() -> None:
    with pytest.raises(TooManyRows, match="101 measurements"):
        check([GOOD] * 101)


def test_number_of_reported_errors_is_limited() -> None:
    assert len(faults([{}] * 90)) == 20


def test_many_unknown_fields_are_reported_quickly() -> None:
    """A search of each among a thousand names would take seconds."""
    schema = Schema(tuple(Feature(f"a_long_feature_name_{n}", "number", 0, 1, 0.5) for n in range(1000)), "y", ("a", "b"))
    body = json.dumps({f"a_long_feature_nome_{n}": 1 for n in range(20_000)}).encode()
    since = time.process_time()
    with pytest.raises(InvalidInput):
        schema.check(body, 1)
    assert time.process_time() - since < 1


def test_any_column_name_will_do() -> None:
    names = ["a:b", "class", "ü ~/", "0", "__init__"]
    schema = Schema(tuple(Feature(name, "number", 0, 1, 0.5) for name in names), "y", ("a", "b"))
    body = json.dumps(dict.fromkeys(names, 0.5)).encode()
    assert schema.check(body, 1).rows == [(0.5,) * 5]
    with pytest.raises(InvalidInput) as refused:
        schema.check(b'{"a:b": 1}', 1)
    assert refused.value.errors[1].pointer == "/ü ~0~1"
    duplicate = body[:-1] + b', "a:b": 0.1}'
    with pytest.raises(InvalidInput, match="twice"):
        schema.check(duplicate, 1)
