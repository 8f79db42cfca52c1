"""``python -m modeler.parquet_reader MOST_ROWS``: a Parquet file of measurements on standard input, its rows on standard output.

A process of its own, with bounds: a file of a few kilobytes may unpack to gigabytes, and the API is to outlive that.
"""

import os
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from io import BytesIO
from math import isinf
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.parquet_rows import MAX_CELLS, Exact, Unpacked

INDEX = re.compile(r"^__index_level_\d+__$")  # pandas' own

MEMORY = 500_000_000  # bytes, of which Arrow itself takes 100 million
SECONDS = 5  # of CPU
AT_ONCE = 1000  # rows
MAX_TEXT = 5_000_000  # characters
MAX_BYTES = 40_000_000  # of what is told

PLAIN = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_date, pa.types.is_null)


class BadParquet(ValueError):
    """The file cannot be used; the message says why."""


class TooMuch(ValueError):
    """There is more in it than one request may have."""


class _Unpacked:
    """Values as JSON has them, so many characters of text at most."""

    def __init__(self) -> None:
        self._text = 0

    def values(self, column: pa.ChunkedArray) -> list[Exact]:
        if pa.types.is_timestamp(column.type):  # in Python's precision, and in UTC: of other zones it needs a database
            column = column.cast(pa.timestamp("us", column.type.tz and "UTC"), safe=False)
        return [value for chunk in column.chunks for value in self._of(chunk)]

    def _of(self, chunk: pa.Array) -> Iterator[Exact]:
        if isinstance(chunk, pa.DictionaryArray):
            words = [self._plain(word) for word in chunk.dictionary.to_pylist()]  # each once, however often it comes
            values: Iterator[Exact] = (None if place is None else words[place] for place in chunk.indices.to_pylist())
        else:
            values = map(self._plain, chunk.to_pylist())
        for value in values:
            if isinstance(value, str):
                self._text += len(value)
                if self._text > MAX_TEXT:
                    raise TooMuch(f"more than {MAX_TEXT:,} characters of text in one request")
            yield value

    def _plain(self, value: Any) -> Exact:
        """Infinity stays text, which no number is."""
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, float | Decimal):
            return str(value) if isinf(value) else float(value)
        told: Exact = value
        return told


def columns(body: bytes, most_rows: int) -> dict[str, list[Exact]]:
    """Raises BadParquet or TooMuch."""
    try:
        schema = pq.read_schema(BytesIO(body))
        names = _names(schema)
        table = _table(body, names, [field.name for field in schema if _is_text(field.type)], most_rows)
        unpacked = _Unpacked()
        return {name: unpacked.values(table.column(name)) for name in names}
    except (pa.ArrowMemoryError, MemoryError):
        raise BadParquet("it takes too much memory to unpack") from None
    except (BadParquet, TooMuch):
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadParquet(f"the Parquet file cannot be read: {error}") from None


def _table(body: bytes, names: list[str], texts: list[str], most_rows: int) -> pa.Table:
    try:
        return _read(body, names, most_rows, texts)
    except OSError:  # of some encodings Arrow makes no dictionaries, and says so by this
        return _read(body, names, most_rows, [])


def _read(body: bytes, names: list[str], most_rows: int, as_dictionaries: list[str]) -> pa.Table:
    """Of a dictionary's column each text is read once, however often it comes."""
    file = pq.ParquetFile(BytesIO(body), read_dictionary=as_dictionaries)
    check_size(file.metadata.num_rows, len(names), most_rows)
    return pa.Table.from_batches(list(_batches(file, names, most_rows)), _schema(file, names))


def check_size(rows: int, width: int, most_rows: int) -> None:
    """Raises TooMuch."""
    if rows > most_rows:
        raise TooMuch(f"{rows} measurements in one request; at most {most_rows}")
    if rows * width > MAX_CELLS:
        raise TooMuch(f"{rows} measurements of {width} columns in one request; at most {MAX_CELLS:,} values")


def _names(schema: pa.Schema) -> list[str]:
    fields = [field for field in schema if not INDEX.match(field.name)]
    odd = next((field for field in fields if not _is_plain(field.type)), None)
    if odd is not None:
        held = f"column {odd.name[:200]!r} is of type {str(odd.type)[:80]}"
        raise BadParquet(f"{held}; it takes numbers, booleans, texts and dates")
    names = [field.name for field in fields]
    if len(set(names)) < len(names) or not names:
        raise BadParquet("each column needs a name of its own")
    return names


def _is_plain(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_plain(type_.value_type)
    return _is_text(type_) or pa.types.is_timestamp(type_) or any(is_kind(type_) for is_kind in PLAIN)


def _is_text(type_: pa.DataType) -> bool:
    return str(type_) in ("string", "large_string", "string_view")


def _schema(file: pq.ParquetFile, names: Sequence[str]) -> pa.Schema:
    return pa.schema([file.schema_arrow.field(name) for name in names])


def _batches(file: pq.ParquetFile, names: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
    """What it says of its own size may be wrong."""
    rows = 0
    for batch in file.iter_batches(AT_ONCE, columns=names, use_threads=False):  # their stacks count as memory
        rows += batch.num_rows
        check_size(rows, len(names), most_rows)
        yield batch


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))  # SIGXCPU comes first, which says why
    pa.set_io_thread_count(1)
    try:
        told = msgspec.json.encode(Unpacked(columns(sys.stdin.buffer.read(), int(sys.argv[1]))))
        if len(told) > MAX_BYTES:
            raise TooMuch(f"{len(told):,} bytes in one request, when it is unpacked; at most {MAX_BYTES:,}")
    except BadParquet as error:
        told = msgspec.json.encode(Unpacked(bad=str(error)))
    except TooMuch as error:
        told = msgspec.json.encode(Unpacked(too_many=str(error)))
    sys.stdout.buffer.write(told)
    sys.stdout.buffer.flush()
    os._exit(0)  # Arrow's threads, when they are told to end, abort the process now and then


if __name__ == "__main__":
    main()
