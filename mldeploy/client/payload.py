"""Request bodies: measurements as JSON, and tables as bytes with their content type."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}

Row = Mapping[str, Any]
Rows = Row | Sequence[Row] | Any  # or a data frame, or a row of one, or as a table a path or a CSV's text
Table = Any  # a path, a CSV's text or bytes, or a data frame


def measurements(rows: Rows) -> dict[str, Any] | list[dict[str, Any]]:
    if hasattr(rows, "to_dict"):
        rows = rows.to_dict("records") if hasattr(rows, "columns") else rows.to_dict()
    return _plain(rows) if isinstance(rows, Mapping) else [_plain(row) for row in rows]


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
    if hasattr(table, "to_csv"):
        named = [name for name in table.index.names if name is not None]
        return str((table.reset_index() if named else table).to_csv(index=False)).encode(), CONTENT_TYPES[".csv"]
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
    return {str(name): _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    """A JSON value: NumPy numbers as Python numbers, missing values as null, dates and times as text."""
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return None if text == "NaT" else text
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value
