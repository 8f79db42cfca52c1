"""Reads CSV, NDJSON and Parquet into columns of raw values: the texts of a CSV as they are, and None for what is not there."""

import csv
from collections.abc import Iterator
from io import BytesIO, StringIO
from typing import NamedTuple

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modeler.errors import BadTrainingData
from modeler.parquet_reader import INDEX
from models.csv_format import decoded, delimiter_of, encoding_error
from models.reading import ReadOptions

MAX_COLUMNS = 1001
BATCH_ROWS = 10_000  # rows of a Parquet file
MAX_CELLS = 50_000_000
TEXTS = ("string", "large_string", "string_view", "binary", "large_binary")  # Arrow's types
MAX_BYTES = 1_000_000_000  # of an unpacked Parquet file
NAMED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_lines = msgspec.json.Decoder(dict[str, bool | int | float | str | None])


class Raw(NamedTuple):
    """``frame``: columns of raw values; ``is_text``: whether all of them are texts that may stand for numbers, as in a CSV.
    ``notes``: what was guessed about the file."""

    frame: pd.DataFrame
    is_text: bool
    notes: list[str]


def read_csv(body: bytes, options: ReadOptions) -> Raw:
    try:
        text = decoded(body, options.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise BadTrainingData(encoding_error(error, options.encoding)) from None
    notes = []
    if "\0" in text:
        raise BadTrainingData("the CSV holds a NUL byte")
    delimiter = options.delimiter or delimiter_of(text)
    if not options.delimiter and delimiter != ",":
        notes.append(f"the fields of the CSV are taken to be separated by {NAMED[delimiter]}")
    _refuse_ragged(text, delimiter)
    try:
        frame = pd.read_csv(
            StringIO(text), index_col=False, dtype=str, sep=delimiter, keep_default_na=False, na_filter=False, low_memory=False
        )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadTrainingData(f"the CSV cannot be read: {error}") from None
    return Raw(frame, True, notes)


def _refuse_ragged(text: str, delimiter: str) -> None:
    """Raise BadTrainingData for rows of unequal length: pandas fills short rows silently."""
    lines = csv.reader(StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = next(lines, [])
        if len(set(header)) < len(header):
            raise BadTrainingData("each column needs a name of its own in the header line")
        for row in lines:
            if row and len(row) != len(header):
                raise BadTrainingData(f"line {lines.line_num} has {len(row)} fields and the header {len(header)}")
    except csv.Error as error:
        raise BadTrainingData(f"line {lines.line_num} of the CSV cannot be read: {error}") from None


def read_ndjson(body: bytes, _: ReadOptions) -> Raw:
    try:
        lines = _lines.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadTrainingData(f"the NDJSON cannot be read (one flat object a line): {error}") from None
    columns: dict[str, None] = {}
    for line in lines:
        columns.update(dict.fromkeys(line))
        if len(columns) > MAX_COLUMNS:
            raise BadTrainingData(f"more than {MAX_COLUMNS} columns; it takes a target and 1 to {MAX_COLUMNS - 1} features")
    values = {name: pd.Series([line.get(name) for line in lines], dtype=object) for name in columns}
    return Raw(pd.DataFrame(values), False, [])


def read_parquet(body: bytes, _: ReadOptions) -> Raw:
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
    return Raw(frame[[name for name in frame.columns if not INDEX.match(name)]], False, [])


def _frame(file: pq.ParquetFile) -> pd.DataFrame:
    about = file.metadata
    unpacked = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
    if about.num_rows * about.num_columns > MAX_CELLS or unpacked > MAX_BYTES:
        raise BadTrainingData(f"the Parquet file has {about.num_rows:,} rows and {unpacked:,} bytes when unpacked: too much")
    table = pa.Table.from_batches(list(_batches(file)), file.schema_arrow)
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    return frame


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Yield the batches and check their size, as the file's metadata may be wrong."""
    size = 0
    for batch in file.iter_batches(BATCH_ROWS):
        size += batch.get_total_buffer_size()
        if size > MAX_BYTES:
            raise BadTrainingData(f"the Parquet file has more than {MAX_BYTES:,} bytes when unpacked: too much")
        yield batch


READERS = {"csv": read_csv, "ndjson": read_ndjson, "parquet": read_parquet}
