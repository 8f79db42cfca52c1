"""``python -m modeler.parquet_reader MAX_ROWS``: reads a Parquet file of measurements from stdin and writes its rows as JSON.

It is a process of its own, with limits, to protect the API: a file of a few kilobytes may unpack to gigabytes.
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

INDEX = re.compile(r"^__index_level_\d+__$")  # the columns in which pandas stores its index

MAX_MEMORY = 500_000_000  # bytes, of which Arrow itself takes 100 million
MAX_CPU_SECONDS = 5
BATCH_ROWS = 1000
MAX_TEXT = 5_000_000  # characters
MAX_BYTES = 40_000_000  # of the output

PLAIN = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_date, pa.types.is_null)


class BadParquet(ValueError):
    """The file cannot be used; the message says why."""


class TooLarge(ValueError):
    """The file has more than one request may have."""


class _ValueReader:
    """Converts values to those of JSON, with at most MAX_TEXT characters of text."""

    def __init__(self) -> None:
        self._text = 0

    def values(self, column: pa.ChunkedArray) -> list[Exact]:
        if pa.types.is_timestamp(column.type):  # Python's precision; in UTC, as other zones need a database
            column = column.cast(pa.timestamp("us", column.type.tz and "UTC"), safe=False)
        return [value for chunk in column.chunks for value in self._of(chunk)]

    def _of(self, chunk: pa.Array) -> Iterator[Exact]:
        if isinstance(chunk, pa.DictionaryArray):
            words = [self._plain(word) for word in chunk.dictionary.to_pylist()]  # each distinct text once
            values: Iterator[Exact] = (None if place is None else words[place] for place in chunk.indices.to_pylist())
        else:
            values = map(self._plain, chunk.to_pylist())
        for value in values:
            if isinstance(value, str):
                self._text += len(value)
                if self._text > MAX_TEXT:
                    raise TooLarge(f"more than {MAX_TEXT:,} characters of text in one request")
            yield value

    def _plain(self, value: Any) -> Exact:
        """Convert a value. Infinity becomes text, so that it is refused as a number."""
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, float | Decimal):
            return str(value) if isinf(value) else float(value)
        exact: Exact = value
        return exact


def columns(body: bytes, max_rows: int) -> dict[str, list[Exact]]:
    """Return the values by column. Raises BadParquet or TooLarge."""
    try:
        schema = pq.read_schema(BytesIO(body))
        names = _names(schema)
        table = _table(body, names, [field.name for field in schema if _is_text(field.type)], max_rows)
        reader = _ValueReader()
        return {name: reader.values(table.column(name)) for name in names}
    except (pa.ArrowMemoryError, MemoryError):
        raise BadParquet("it takes too much memory to unpack") from None
    except (BadParquet, TooLarge):
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadParquet(f"the Parquet file cannot be read: {error}") from None


def _table(body: bytes, names: list[str], texts: list[str], max_rows: int) -> pa.Table:
    try:
        return _read(body, names, max_rows, texts)
    except OSError:  # Arrow cannot read some encodings as dictionaries
        return _read(body, names, max_rows, [])


def _read(body: bytes, names: list[str], max_rows: int, as_dictionaries: list[str]) -> pa.Table:
    """Read the columns. Those in ``as_dictionaries`` keep each distinct text once."""
    file = pq.ParquetFile(BytesIO(body), read_dictionary=as_dictionaries)
    check_size(file.metadata.num_rows, len(names), max_rows)
    return pa.Table.from_batches(list(_batches(file, names, max_rows)), _schema(file, names))


def check_size(rows: int, width: int, max_rows: int) -> None:
    """Raises TooLarge."""
    if rows > max_rows:
        raise TooLarge(f"{rows} measurements in one request; at most {max_rows}")
    if rows * width > MAX_CELLS:
        raise TooLarge(f"{rows} measurements of {width} columns in one request; at most {MAX_CELLS:,} values")


def _names(schema: pa.Schema) -> list[str]:
    fields = [field for field in schema if not INDEX.match(field.name)]
    refused = next((field for field in fields if not _is_plain(field.type)), None)
    if refused is not None:
        held = f"column {refused.name[:200]!r} is of type {str(refused.type)[:80]}"
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


def _batches(file: pq.ParquetFile, names: list[str], max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the batches and check their size, as the file's metadata may be wrong."""
    rows = 0
    for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):  # threads' stacks would count as memory
        rows += batch.num_rows
        check_size(rows, len(names), max_rows)
        yield batch


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    # At the soft limit SIGXCPU ends the process, which shows the reason, before SIGKILL does at the hard one
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1))
    pa.set_io_thread_count(1)
    try:
        output = msgspec.json.encode(Unpacked(columns(sys.stdin.buffer.read(), int(sys.argv[1]))))
        if len(output) > MAX_BYTES:
            raise TooLarge(f"{len(output):,} bytes in one request, when it is unpacked; at most {MAX_BYTES:,}")
    except BadParquet as error:
        output = msgspec.json.encode(Unpacked(bad=str(error)))
    except TooLarge as error:
        output = msgspec.json.encode(Unpacked(too_many=str(error)))
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()
    os._exit(0)  # a regular exit sometimes aborts in Arrow's threads


if __name__ == "__main__":
    main()
