"""Reads tables (CSV, Parquet, NDJSON) and infers the columns' types: each column has numbers or texts."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import BytesIO, StringIO
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modeler.parquet_reader import INDEX
from models.feature import MAX_NAME, FeatureType
from models.options import Format

MAX_COLUMNS = 1001
BATCH_ROWS = 10_000  # rows of a Parquet file
MAX_CELLS = 50_000_000
TEXTS = ("string", "large_string", "string_view", "binary", "large_binary")  # Arrow's types
MAX_BYTES = 1_000_000_000  # of an unpacked Parquet file
MAX_CELL_TEXT = 10_000  # characters of a cell …
MAX_COLUMN_TEXT = 100_000_000  # … and of a column
EPOCH = pd.Timestamp(0, tz="UTC").as_unit("us")
SECOND = pd.Timedelta(seconds=1).as_unit("us")
_ISO_DATE = re.compile(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$")
_lines = msgspec.json.Decoder(dict[str, bool | int | float | str | None])


class BadTrainingData(ValueError):
    """The table cannot be used; the message says why and what it takes."""


@dataclass(frozen=True, slots=True)
class Table:
    """``frame``: float64 (numbers, booleans as 0 and 1, dates as seconds since 1970, NaN for what is missing), or objects: text
    and None. ``types`` by column."""

    frame: pd.DataFrame
    types: dict[str, FeatureType]

    def rows(self, which: NDArray[np.bool_]) -> "Table":
        return Table(self.frame.loc[which].reset_index(drop=True), self.types)


def read(body: bytes, format_: Format, known: Mapping[str, FeatureType] | None = None) -> Table:
    """Read a table. ``known``: the existing types of columns, which the table must fit. Raises BadTrainingData."""
    known = known or {}
    frame = _READERS[format_](body, known).reset_index(drop=True)
    if frame.columns.has_duplicates:
        raise BadTrainingData("each column needs a name of its own")
    if any(not str(name).strip() or len(str(name)) > MAX_NAME for name in frame.columns):
        raise BadTrainingData(f"each column needs a name, of at most {MAX_NAME} characters")
    if not 2 <= len(frame.columns) <= MAX_COLUMNS:
        raise BadTrainingData(f"{len(frame.columns)} columns; it takes a target and 1 to {MAX_COLUMNS - 1} features")
    if frame.size > MAX_CELLS:
        raise BadTrainingData(f"{frame.size:,} cells; at most {MAX_CELLS:,}")
    if frame.empty:
        raise BadTrainingData("there are no rows")
    typed = {str(name): _typed(str(name), column, known.get(str(name))) for name, column in frame.items()}
    columns = pd.DataFrame({name: column for name, (_, column) in typed.items()})
    return Table(columns, {name: type_ for name, (type_, _) in typed.items()})


def concat(tables: list[Table]) -> Table:
    """Concatenate tables of the same columns. Raises BadTrainingData if one has texts where another has numbers."""
    types = joint_types([table.types for table in tables])
    frames = [table.frame[list(types)] for table in tables]
    return Table(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], types)


def joint_types(several: Sequence[Mapping[str, FeatureType]]) -> dict[str, FeatureType]:
    """Return the types of the concatenation: number and integer make number. Raises BadTrainingData."""
    joint = dict(several[0])
    for types in several[1:]:
        others = [name for name in joint if (joint[name] == "category") != (types.get(name) == "category")]
        if others:
            raise BadTrainingData(f"column {others[0]!r} is of type {joint[others[0]]} and of type {types.get(others[0])}")
        joint |= {name: "number" for name, type_ in types.items() if joint[name] == "integer" and type_ == "number"}
    return joint


def to_parquet(table: Table) -> bytes:
    fields = [pa.field(name, pa.string() if type_ == "category" else pa.float64()) for name, type_ in table.types.items()]
    schema = pa.schema(fields, metadata={"types": msgspec.json.encode(table.types)})
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pandas(table.frame, schema=schema, preserve_index=False), buffer)
    return buffer.getvalue()


def from_parquet(content: bytes) -> Table:
    """Read a table that ``to_parquet`` wrote."""
    found = pq.read_table(BytesIO(content))
    types = msgspec.json.decode((found.schema.metadata or {})[b"types"], type=dict[str, FeatureType])
    columns = {name: _stored(found.column(name).to_pandas(), types[name]) for name in types}
    return Table(pd.DataFrame(columns), types)


def _stored(column: "pd.Series[Any]", type_: FeatureType) -> "pd.Series[Any]":
    return _texts(column) if type_ == "category" else column.astype(np.float64)


# Readers


def _read_csv(body: bytes, known: Mapping[str, FeatureType]) -> pd.DataFrame:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTrainingData(f"the CSV is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    if "\0" in text:
        raise BadTrainingData("the CSV holds a NUL byte")
    _refuse_ragged(text)
    texts: Any = {name: str for name, type_ in known.items() if type_ == "category"}
    try:
        return pd.read_csv(StringIO(text), index_col=False, dtype=texts, low_memory=False)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadTrainingData(f"the CSV cannot be read: {error}") from None


def _refuse_ragged(text: str) -> None:
    """Raise BadTrainingData for rows of unequal length: pandas fills short rows silently."""
    lines = csv.reader(StringIO(text), strict=True)
    try:
        header = next(lines, [])
        if len(set(header)) < len(header):
            raise BadTrainingData("each column needs a name of its own in the header line")
        for row in lines:
            if row and len(row) != len(header):
                raise BadTrainingData(f"line {lines.line_num} has {len(row)} fields and the header {len(header)}")
    except csv.Error as error:
        raise BadTrainingData(f"line {lines.line_num} of the CSV cannot be read: {error}") from None


def _read_ndjson(body: bytes, _: Mapping[str, FeatureType]) -> pd.DataFrame:
    try:
        lines = _lines.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadTrainingData(f"the NDJSON cannot be read (one flat object a line): {error}") from None
    columns: dict[str, None] = {}
    for line in lines:
        columns.update(dict.fromkeys(line))
        if len(columns) > MAX_COLUMNS:
            raise BadTrainingData(f"more than {MAX_COLUMNS} columns; it takes a target and 1 to {MAX_COLUMNS - 1} features")
    return pd.DataFrame({name: [line.get(name) for line in lines] for name in columns})


def _read_parquet(body: bytes, _: Mapping[str, FeatureType]) -> pd.DataFrame:
    try:
        schema = pq.read_schema(BytesIO(body))
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        if nested:
            raise BadTrainingData(f"column {nested[0]!r} holds lists, objects or the like; it takes plain values")
        texts = [field.name for field in schema if str(field.type) in TEXTS]
        try:
            frame = _frame(pq.ParquetFile(BytesIO(body), read_dictionary=texts))  # each distinct text is kept once
        except OSError:  # Arrow cannot read some encodings as dictionaries
            frame = _frame(pq.ParquetFile(BytesIO(body)))
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, BadTrainingData):
            raise
        raise BadTrainingData(f"the Parquet file cannot be read: {error}") from None
    return frame[[name for name in frame.columns if not INDEX.match(name)]]


def _frame(file: pq.ParquetFile) -> pd.DataFrame:
    about = file.metadata
    unpacked = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
    if about.num_rows * about.num_columns > MAX_CELLS or unpacked > MAX_BYTES:
        raise BadTrainingData(f"the Parquet file has {about.num_rows:,} rows and {unpacked:,} bytes when unpacked: too much")
    frame: pd.DataFrame = pa.Table.from_batches(list(_batches(file)), file.schema_arrow).to_pandas(ignore_metadata=True)
    return frame


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches and check their size, as the file's metadata may be wrong."""
    size = 0
    for batch in file.iter_batches(BATCH_ROWS):
        size += batch.get_total_buffer_size()
        if size > MAX_BYTES:
            raise BadTrainingData(f"the Parquet file has more than {MAX_BYTES:,} bytes when unpacked: too much")
        yield batch


_READERS = {"csv": _read_csv, "ndjson": _read_ndjson, "parquet": _read_parquet}


# Types


def _typed(name: str, column: "pd.Series[Any]", known: FeatureType | None) -> tuple[FeatureType, "pd.Series[Any]"]:
    found, values = _infer(name, column)
    if known is None or found == known or values.isna().all():
        return (known or found), values if known is None or found == known else _empty(values, known)
    if (known, found) in (("number", "integer"), ("integer", "number")):
        return "number", values
    if known == "category":
        return known, _texts(column)
    if known == "boolean" and found == "integer" and values.dropna().isin((0, 1)).all():
        return known, values
    raise BadTrainingData(
        f"column {name!r} is of type {known} so far, and what is sent is of type {found}, as {_example(column)!r}"
    )


def _empty(values: "pd.Series[Any]", known: FeatureType) -> "pd.Series[Any]":
    return pd.Series([None] * len(values), dtype=object) if known == "category" else pd.Series(np.nan, index=values.index)


def _infer(name: str, column: "pd.Series[Any]") -> tuple[FeatureType, "pd.Series[Any]"]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)  # its texts are shared, not copied
    if pd.api.types.is_bool_dtype(column):
        return "boolean", column.astype(np.float64)
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date", _seconds(column)
    if pd.api.types.is_numeric_dtype(column):
        return _numbers(name, column)
    return _infer_objects(name, column)


def _infer_objects(name: str, column: "pd.Series[Any]") -> tuple[FeatureType, "pd.Series[Any]"]:
    present = column.dropna()
    if len(present) == 0:
        return "number", pd.Series(np.nan, index=column.index)
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return "boolean", column.map(float, na_action="ignore").astype(np.float64)
    if kinds <= {int, float, Decimal}:
        return _numbers(name, column)
    if all(issubclass(kind, date) for kind in kinds):
        return "date", _seconds(pd.to_datetime(column, utc=True))
    if not kinds <= {str, int, float, bool}:
        raise BadTrainingData(f"column {name!r} holds lists, objects or the like; it takes plain values")
    return _dates_or_texts(name, column, present)


def _numbers(name: str, column: "pd.Series[Any]") -> tuple[FeatureType, "pd.Series[Any]"]:
    try:
        values = column.astype(np.float64)
    except OverflowError:
        raise BadTrainingData(f"column {name!r} holds numbers that are too large") from None
    if np.isinf(values).any():
        raise BadTrainingData(f"column {name!r} holds infinite values")
    present = values.dropna()
    whole = pd.api.types.is_integer_dtype(column) or (len(present) < len(values) and bool((present % 1 == 0).all()))
    return "integer" if whole and len(present) else "number", values


def _dates_or_texts(name: str, column: "pd.Series[Any]", present: "pd.Series[Any]") -> tuple[FeatureType, "pd.Series[Any]"]:
    distinct = present.unique()
    if all(isinstance(value, str) and _ISO_DATE.match(value) for value in distinct):
        try:
            return "date", _seconds(pd.to_datetime(column, utc=True, format="ISO8601"))
        except (ValueError, pd.errors.OutOfBoundsDatetime):
            pass  # such as 2026-02-31: ordinary texts
    lengths = np.array([len(str(value)) for value in distinct])
    if lengths.max() > MAX_CELL_TEXT:
        raise BadTrainingData(f"a cell of column {name!r} is longer than {MAX_CELL_TEXT:,} characters")
    if lengths[pd.factorize(present)[0]].sum() > MAX_COLUMN_TEXT:
        raise BadTrainingData(f"column {name!r} holds more than {MAX_COLUMN_TEXT:,} characters: too much")
    return "category", _texts(column)


def _texts(column: "pd.Series[Any]") -> "pd.Series[Any]":
    missing = column.isna()
    return pd.Series([None if gone else _text(value) for value, gone in zip(column, missing, strict=True)], dtype=object)


def _text(value: Any) -> str:
    """Convert a value to text; 5.0 becomes 5, because a column of integers with missing values is read as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _seconds(column: "pd.Series[Any]") -> "pd.Series[Any]":
    moments = column.dt.tz_localize("UTC") if column.dt.tz is None else column.dt.tz_convert("UTC")
    since: pd.Series[Any] = (moments.dt.as_unit("us") - EPOCH) / SECOND  # in microseconds the quotient is exact to the last bit
    return since


def _example(column: "pd.Series[Any]") -> str:
    return str(column.dropna().iloc[0])[:100]
