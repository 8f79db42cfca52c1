"""Data frames as they are sent: as Parquet if pyarrow is there, else as NDJSON, which both keep texts, numbers, booleans and gaps
apart, as CSV does not. A frame is sent with the same values to be trained on and to be predicted."""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from uuid import UUID

MISSING = ("NAType", "NaTType")  # the classes of pandas' missing values
PLAIN = (str, bool, int, float)
SECONDS = "make numbers of it, with .dt.total_seconds()"
INSTEAD = {  # by the name of a value's class
    "timedelta": SECONDS,
    "Timedelta": SECONDS,
    "Period": "make dates of it, with .dt.to_timestamp()",
    "bytes": "make texts of it, with .str.decode()",
}
INT64 = 2**63


def is_frame(table: Any) -> bool:
    return hasattr(table, "columns") and hasattr(table, "to_dict")


def parquet(frame: Any) -> bytes:
    """The frame as a Parquet file. Raises ValueError for a frame that is no table of plain values."""
    arrow = import_module("pyarrow")
    columns = {name: _arrow_array(arrow, name, column) for name, column in _columns(frame)}
    buffer = io.BytesIO()
    import_module("pyarrow.parquet").write_table(arrow.table(columns), buffer)
    return buffer.getvalue()


def ndjson(frame: Any) -> bytes:
    """The frame as a line of JSON for each row. Raises ValueError for a frame that is no table of plain values."""
    columns = {name: plain_column(name, column) for name, column in _columns(frame)}
    try:
        lines = [json.dumps(dict(zip(columns, row, strict=True)), allow_nan=False) for row in zip(*columns.values(), strict=True)]
    except ValueError:
        infinite = next(name for name, values in columns.items() if any(value in (math.inf, -math.inf) for value in values))
        raise ValueError(f"column {infinite!r} holds infinite values: a model takes finite numbers") from None
    return "\n".join(lines).encode()


def has_pyarrow() -> bool:
    return find_spec("pyarrow") is not None


def plain_column(name: str, values: Iterable[Any]) -> list[Any]:
    """The values of a column: None, and beside it only numbers, only booleans or only texts. Mixed ones are all texts, as the
    service reads them. Raises ValueError."""
    try:
        found = [plain_value(value) for value in values]
    except TypeError as error:
        raise ValueError(f"column {name!r}: {error}") from None
    kinds = {type(value) for value in found} - {type(None)}
    refused = next((kind for kind in kinds if kind not in PLAIN), None)
    if refused:
        raise ValueError(f"column {name!r} holds {refused.__name__}: a table takes numbers, booleans, texts and dates")
    mixed = len(kinds) > 1 and kinds != {int, float}
    return [None if value is None else _text(value) for value in found] if mixed else found


def plain_value(value: Any) -> Any:
    """A value as JSON has it: NumPy's and others' numbers as Python's, missing ones as None, dates and times as text. Lists and
    mappings stay as they are. Raises TypeError for what JSON has not."""
    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = _from_numpy(value)
    elif isinstance(value, Decimal):
        value = _from_decimal(value)
    if type(value).__name__ in MISSING or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, date | time):
        return _iso(value)
    if isinstance(value, UUID):
        return str(value)
    if value is None or isinstance(value, bool | list | tuple | dict):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    instead = INSTEAD.get(type(value).__name__, "make plain values of it")
    raise TypeError(f"{type(value).__name__} is neither a number, a boolean, a text nor a date: {instead}")


def _columns(frame: Any) -> Iterable[tuple[str, Any]]:
    """The columns by name; a numbered index is left out, one with a name is among them. Raises ValueError."""
    if frame.columns.nlevels > 1:
        raise ValueError("the columns have names of several levels: give each one name (df.columns = …)")
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"the column {twice!r} comes twice: each needs a name of its own")
    return [(name, frame.iloc[:, place]) for place, name in enumerate(names)]


def _arrow_array(arrow: Any, name: str, column: Any) -> Any:
    numpy = import_module("numpy")
    kind = column.dtype.kind if isinstance(column.dtype, numpy.dtype) else ""
    if kind == "M":
        return arrow.array(column.astype("datetime64[us]"), from_pandas=True)
    if kind and kind in "biu":
        return arrow.array(column.to_numpy())
    if kind == "f":
        return arrow.array(column.to_numpy(dtype=numpy.float64), from_pandas=True)
    values = plain_column(name, column)
    kinds = set(map(type, values))
    if float in kinds:
        values = [None if value is None else float(value) for value in values]
    elif int in kinds and not all(value is None or -INT64 <= value < INT64 for value in values):
        values = [None if value is None else str(value) for value in values]  # which is exact, and read like integers
    return arrow.array(values)


def _from_numpy(value: Any) -> Any:
    """A NumPy scalar as a Python object. Raises TypeError for a duration, and for a date that Python does not have."""
    if getattr(value, "shape", ()):
        return value
    kind = getattr(value.dtype, "kind", "")
    if kind == "m":
        raise TypeError(f"timedelta64 is neither a number, a boolean, a text nor a date: {SECONDS}")
    found = value.astype("datetime64[us]").item() if kind == "M" else value.item()
    if kind == "M" and isinstance(found, int):
        raise TypeError(f"{value} is beyond the year 9999")
    return float(found) if kind == "f" else found


def _from_decimal(value: Decimal) -> int | float:
    """A decimal without decimal places is an integer, as it is when pandas writes it to CSV."""
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)


def _iso(value: date | time) -> str:
    """ISO 8601 to the microsecond; times with a zone in UTC."""
    if isinstance(value, datetime) and value.tzinfo:
        value = value.astimezone(UTC)
    if getattr(value, "nanosecond", 0):
        return str(value.isoformat(timespec="microseconds"))  # type: ignore[call-arg]
    return value.isoformat()


def _text(value: Any) -> str:
    """As the service makes text of a number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
