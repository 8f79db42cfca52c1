"""Request bodies: measurements as JSON, and tables as bytes with their content type."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mldeploy.client.frames import has_pyarrow, is_frame, ndjson, parquet, plain_value

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}

Row = Mapping[str, Any]
Rows = Row | Sequence[Row] | Any  # or a row of a data frame; or as a table a data frame or a path
Table = Any  # a path, a CSV's text or bytes, or a data frame


def measurements(rows: Rows) -> dict[str, Any] | list[dict[str, Any]]:
    rows = rows.to_dict() if hasattr(rows, "to_dict") else rows
    return _plain(rows) if isinstance(rows, Mapping) else [_plain(row) for row in rows]


def prediction_body(rows: Rows) -> tuple[bytes, str] | None:
    """The bytes and the content type of a table of measurements; None for measurements that are sent as JSON."""
    if is_frame(rows):  # as lines, whose values are converted to the types of the model's features, as in a training
        return ndjson(rows), CONTENT_TYPES[".ndjson"]
    return table_body(rows) if isinstance(rows, str | Path) else None


def table_body(table: Table) -> tuple[bytes, str]:
    """The bytes and their content type."""
    if isinstance(table, str) and "\n" in table:
        return table.encode(), CONTENT_TYPES[".csv"]
    if isinstance(table, str | Path):
        path = Path(table)
        content_type = CONTENT_TYPES.get(path.suffix.lower())
        if content_type is None:
            raise ValueError(f"the format of {path.name} is not known: name it {', '.join(CONTENT_TYPES)}")
        return path.read_bytes(), content_type
    if is_frame(table):
        if has_pyarrow():
            return parquet(table), CONTENT_TYPES[".parquet"]
        return ndjson(table), CONTENT_TYPES[".ndjson"]
    if not isinstance(table, bytes):
        raise TypeError(f"a table is a path, a CSV's text or bytes, or a data frame, not {type(table).__name__}")
    return table, CONTENT_TYPES[".csv"]


class TableBody(io.BytesIO):
    """A body that is sent block by block, so that the time-out is for each block and not for the whole table. Calls
    ``on_read(read, total)`` before each read."""

    def __init__(self, body: bytes, on_read: Callable[[int, int], None] | None) -> None:
        super().__init__(body)
        self._total = len(body)
        self._on_read = on_read

    def read(self, size: int | None = -1) -> bytes:
        if self._on_read:
            self._on_read(self.tell(), self._total)  # what was read before has been sent
        return super().read(size)


def without_empty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that were left out."""
    return {name: value for name, value in options.items() if value not in ("", None, {})}


def _plain(row: Row) -> dict[str, Any]:
    if not hasattr(row, "items"):
        raise TypeError(f"a measurement is a mapping of names to values (or send a data frame), not {type(row).__name__}")
    return {str(name): plain_value(value) for name, value in row.items()}
