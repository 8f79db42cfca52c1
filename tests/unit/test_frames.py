"""What a data frame is sent as: the estimator gets the same values in a training and in a prediction."""

import datetime as dt
import io
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.inputs.tabular import from_ndjson
from mldeploy.client import frames, payload
from modeler import dataset, table
from modeler.table import Table
from models.options import Format

WAYS: dict[Format, Callable[[Any], bytes]] = {"parquet": frames.parquet, "ndjson": frames.ndjson}
TARGET = "the target"
NS, BERLIN = "datetime64[ns]", "Europe/Berlin"


def sent(frame: pd.DataFrame, way: Format = "parquet") -> Table:
    return table.read(WAYS[way](frame), way)


def matrices(frame: pd.DataFrame, way: Format) -> tuple[np.ndarray, np.ndarray]:
    """Return what an estimator gets of the frame when it is trained on, and when it is asked to predict it."""
    frame = pd.concat([frame] * 3, ignore_index=True)
    frame["row"] = range(len(frame))  # so that there are rows for testing
    read = sent(frame.assign(**{TARGET: np.arange(len(frame)) + 0.5}), way)
    made = dataset.make(read, target=TARGET, task="regression", test_share=0.5)
    measurements = from_ndjson(frames.ndjson(frame), made.schema, 10_000).check(made.schema, 10_000, False)
    return made.features, np.array(measurements.rows, dtype=np.float64)


# Each kind of column that pandas has

COLUMNS: dict[str, pd.Series] = {
    "texts that look like gaps": pd.Series(["None", "NA", "nan", "null", "", "a", "N/A", "NaN"]),
    "texts with gaps": pd.Series(["None", None, "NA", np.nan, "a", pd.NA, "b", "c"], dtype=object),
    "texts of numbers": pd.Series(["1", "02", "3.0", "1e3", "-0", "007", "7", "٣"]),
    "strings": pd.Series(["a", None, "NA", "b"] * 2, dtype="string"),
    "categories": pd.Series(["x", None, "NA", "y"] * 2, dtype="category"),
    "categories of integers": pd.Series([3, None, 1, 2] * 2, dtype="category"),
    "categories of booleans": pd.Series(pd.Categorical([True, False, None, True] * 2)),
    "integers": pd.Series(range(8)),
    "small integers": pd.Series(range(8), dtype="int8"),
    "large integers": pd.Series([2**63, 1, 2, 3] * 2, dtype="uint64"),
    "huge integers": pd.Series([2**70, 1, None, 3] * 2, dtype=object),
    "nullable integers": pd.Series([1, None, 2**40, 3] * 2, dtype="Int64"),
    "nullable floats": pd.Series([1.5, None, 2.0, 3.0] * 2, dtype="Float64"),
    "nullable booleans": pd.Series([True, None, False, True] * 2, dtype="boolean"),
    "booleans": pd.Series([True, False] * 4),
    "booleans and None": pd.Series([True, None, False, True] * 2, dtype=object),
    "single precision": pd.Series([0.1, 0.2, np.nan, 1e-30] * 2, dtype="float32"),
    "half precision": pd.Series([0.1, 0.2, np.nan, 3.0] * 2, dtype="float16"),
    "double precision": pd.Series([0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0] * 2),
    "decimals": pd.Series([Decimal("1.10"), Decimal("2"), None, Decimal("1E+3")] * 2, dtype=object),
    "NumPy's in a column of objects": pd.Series([np.int64(1), np.float32(0.1), 2, None] * 2, dtype=object),
    "mixed": pd.Series([1, "a", 2.0, 2.5, True, None, "1", 10**20], dtype=object),
    "days": pd.Series([dt.date(2020, 2, 29), None, dt.date(1950, 1, 1), dt.date(2026, 1, 31)] * 2, dtype=object),
    "times": pd.Series(["2020-01-01T10:00:00.123456789", "NaT", "1950-01-01T00:00:00.000000001", "2020-01-02"] * 2, dtype=NS),
    "times with a zone": pd.Series(pd.DatetimeIndex(["2020-03-29 01:30", "NaT", "1890-01-01 00:00"] * 3).tz_localize(BERLIN)),
    "NumPy's times": pd.Series(
        [np.datetime64("2020-01-01"), np.datetime64("NaT"), np.datetime64(1, "ns"), None] * 2, dtype=object
    ),
    "times and days": pd.Series([dt.datetime(2020, 1, 1, 5), dt.date(2020, 1, 1), None, pd.Timestamp("2021")] * 2, dtype=object),
    "ids": pd.Series([uuid.UUID(int=1), uuid.UUID(int=2)] * 4, dtype=object),
    "sparse": pd.Series(pd.arrays.SparseArray([0.0, 1.5] * 4)),
    "Arrow's": pd.Series(["a", None] * 4, dtype="string[pyarrow]"),
    "Arrow's days": pd.Series([dt.date(2020, 1, 1), None] * 4, dtype="date32[pyarrow]"),
}
TYPES = {
    "texts that look like gaps": "category",
    "texts of numbers": "category",
    "categories of integers": "integer",
    "categories of booleans": "boolean",
    "nullable integers": "integer",
    "nullable booleans": "boolean",
    "booleans and None": "boolean",
    "decimals": "number",
    "mixed": "category",
    "days": "date",
    "times": "date",
    "times with a zone": "date",
    "NumPy's times": "date",
    "times and days": "date",
    "Arrow's days": "date",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", COLUMNS)
def test_estimator_gets_the_same_of_a_column_in_training_and_prediction(name: str, way: Format) -> None:
    column = COLUMNS[name]
    trained, predicted = matrices(pd.DataFrame({name: column}), way)
    np.testing.assert_array_equal(trained, predicted)
    read = sent(pd.DataFrame({name: column, "y": 1}), way)
    assert read.types[name] == TYPES.get(name, read.types[name])
    assert read.frame[name].isna().tolist() == column.isna().tolist(), "gaps stay gaps and texts stay texts"


@pytest.mark.parametrize("way", WAYS)
def test_texts_stay_the_texts_they_are(way: Format) -> None:
    for name in ("texts that look like gaps", "texts of numbers"):
        assert sent(pd.DataFrame({"a": COLUMNS[name], "y": 1}), way).frame["a"].tolist() == COLUMNS[name].tolist()


def test_both_ways_are_read_alike() -> None:
    whole = pd.DataFrame(COLUMNS)
    as_parquet, as_lines = sent(whole, "parquet"), sent(whole, "ndjson")
    assert as_parquet.types == as_lines.types
    pd.testing.assert_frame_equal(as_parquet.frame, as_lines.frame)


def test_number_alone_of_a_column_of_texts_is_the_text_that_it_was() -> None:
    frame = pd.DataFrame({"a": [1, "b", 2.5, "c"] * 5, "n": range(20), TARGET: np.arange(20) + 0.5})
    made = dataset.make(sent(frame), target=TARGET, task="regression", test_share=0.5)
    for n in range(20):
        lines = frames.ndjson(frame.drop(columns=TARGET)[n : n + 1])
        assert list(from_ndjson(lines, made.schema, 10).check(made.schema, 10, False).rows[0]) == made.features[n].tolist()


def test_times_are_read_to_the_last_bit() -> None:
    moments = pd.Series(["2000-01-01T00:00:00.000001", "1950-06-01T10:00:00.123457", "2199-12-31T23:59:59.999999"] * 7, dtype=NS)
    np.testing.assert_array_equal(*matrices(pd.DataFrame({"a": moments}), "parquet"))


SUBTLE = ("times", "times with a zone")  # nanoseconds, and the offset of 1890, which has seconds


def test_what_csv_can_say_is_read_from_csv_alike() -> None:
    can_be_said = [name for name in COLUMNS if not {"texts that look like gaps", "texts of numbers"} & {name}]
    unsaid = {"texts with gaps", "strings", "categories", "huge integers", "mixed", "single precision", "half precision", *SUBTLE}
    frame = pd.DataFrame({name: COLUMNS[name] for name in can_be_said if name not in unsaid})
    from_csv, from_parquet = table.read(frame.to_csv(index=False).encode(), "csv"), sent(frame)
    assert from_csv.types == {
        **from_parquet.types,
        **{name: from_csv.types[name] for name in ("times and days", "NumPy's times")},
    }
    same = [name for name, type_ in from_csv.types.items() if type_ == from_parquet.types[name]]
    pd.testing.assert_frame_equal(from_csv.frame[same], from_parquet.frame[same], rtol=1e-15)


# Any frame

KINDS: list[st.SearchStrategy[Any]] = [
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=True, allow_infinity=False),
    st.sampled_from(["None", "NA", "nan", "", "1", "true", "x", "é\n\"'"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000),
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=st.timezones()),
]
DTYPES = st.sampled_from(
    ["object", "category", "string", "Int64", "Float64", "boolean", "float32", "float64", "int64", "datetime64[ns]"]
)
NAMES = st.text("aä._-:,;~/ '", min_size=1, max_size=5).filter(str.strip) | st.integers()
ANY_COLUMN = st.one_of([st.lists(kind | st.none(), min_size=12, max_size=12) for kind in [*KINDS, st.one_of(KINDS)]])


def as_dtype(values: list[Any], dtype: str) -> "pd.Series[Any]":
    try:
        return pd.Series(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeWarning, pd.errors.OutOfBoundsDatetime):
        return pd.Series(values, dtype=object)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text("aä._-:,;~/ '", min_size=1, max_size=5).filter(str.strip) | st.integers(), ANY_COLUMN, min_size=1, max_size=4
    ),
    st.lists(DTYPES, min_size=4, max_size=4),
    st.sampled_from(list(WAYS)),
)
def test_estimator_gets_the_same_of_any_frame(columns: dict[Any, list[Any]], dtypes: list[str], way: Format) -> None:
    names = {str(name): name for name in columns if str(name) != TARGET}
    frame = pd.DataFrame(
        {name: as_dtype(columns[name], dtype) for name, dtype in zip(names.values(), dtypes, strict=False)}, index=range(12)
    )
    trained, predicted = matrices(frame, way)
    np.testing.assert_array_equal(trained, predicted)


# Names and indexes


def test_numbers_are_names_too() -> None:
    read = sent(pd.DataFrame(np.arange(24.0).reshape(8, 3)))
    assert list(read.types) == ["0", "1", "2"]


def test_index_with_a_name_is_a_column_and_one_without_is_left_out() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=[7, 8])
    for way in WAYS:
        assert list(sent(frame, way).types) == ["a", "b"]
        assert list(sent(frame.rename_axis("id"), way).types) == ["id", "a", "b"]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"a": [[1], [2]]}), "column 'a' holds list: a table takes numbers, booleans, texts and dates"),
        (pd.DataFrame({"a": [{"b": 1}, None]}), "column 'a' holds dict"),
        (pd.DataFrame({"a": pd.to_timedelta([1, 2])}), r"column 'a': Timedelta is neither .* with .dt.total_seconds\(\)"),
        (pd.DataFrame({"a": pd.Series([np.timedelta64(1, "ns"), 1], dtype=object)}), "column 'a': timedelta64 is neither"),
        (pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="M")}), r"with .dt.to_timestamp\(\)"),
        (pd.DataFrame({"a": [b"x", b"y"]}), "column 'a': bytes is neither"),
        (pd.DataFrame({"a": [1j, 2j]}), "column 'a': complex is neither"),
        (pd.DataFrame({"a": pd.Series([np.datetime64("20000-01-01")], dtype=object)}), "beyond the year 9999"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["a"], ["b", "c"]])), "names of several levels"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the column 'a' comes twice"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "the column '1' comes twice"),
    ],
)
def test_frames_that_are_no_tables_are_refused_in_a_sentence(frame: pd.DataFrame, says: str) -> None:
    for send in WAYS.values():
        with pytest.raises(ValueError, match=says):
            send(frame)


def test_infinite_numbers_are_refused_where_json_has_none() -> None:
    with pytest.raises(ValueError, match="column 'b' holds infinite values"):
        frames.ndjson(pd.DataFrame({"a": [1.0], "b": [-np.inf]}))


# Which way is taken


def test_frames_are_sent_as_parquet_and_without_pyarrow_as_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["NA", "x"]})
    body, content_type = payload.table_body(frame)
    assert content_type == "application/vnd.apache.parquet"
    assert pd.read_parquet(io.BytesIO(body)).to_dict("list") == {"a": [1, 2], "b": ["NA", "x"]}
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert payload.table_body(frame) == (b'{"a": 1, "b": "NA"}\n{"a": 2, "b": "x"}', "application/x-ndjson")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Decimal("2"), 2),
        (Decimal("2.50"), 2.5),
        (Decimal("NaN"), None),
        (float("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (np.datetime64("2020-01-31"), "2020-01-31T00:00:00"),
        (np.datetime64("2020-01-31T10:00", "ns"), "2020-01-31T10:00:00"),
        (dt.date(2020, 1, 31), "2020-01-31"),
        (pd.Timestamp("2020-01-31T10:00:00.123456789"), "2020-01-31T10:00:00.123456"),
        (pd.Timestamp("2020-01-31T10:00", tz="Europe/Berlin"), "2020-01-31T09:00:00+00:00"),
        ([1, 2], [1, 2]),
    ],
)
def test_values_of_a_measurement_are_plain_json(value: Any, plain: Any) -> None:
    found = payload.measurements({"a": value})
    assert found == {"a": plain}
    assert type(found["a"]) is type(plain)


def test_value_that_json_has_not_is_refused_in_a_sentence() -> None:
    with pytest.raises(TypeError, match="Timedelta is neither a number"):
        payload.measurements({"a": pd.Timedelta(1, "s")})
