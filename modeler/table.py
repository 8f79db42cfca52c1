"""A table of typed columns, how it is read, and how it is stored: each column has numbers or texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modeler import column_types
from modeler.column_types import Column
from modeler.errors import BadTrainingData
from modeler.readers import MAX_CELLS, MAX_COLUMNS, READERS
from modeler.text_columns import texts_of
from models.feature import MAX_NAME, NUMBERS, TEXTS, FeatureType
from models.input_errors import listed
from models.options import Format
from models.reading import AS_IT_COMES, ColumnReport, ReadOptions, ReadType, TableReport

NOTHING = TableReport(0, [], [])


@dataclass(frozen=True, slots=True)
class Table:
    """``frame``: float64 (numbers, booleans as 0 and 1, dates as seconds since 1970, NaN for what is missing), or objects: text
    and None. ``types`` by column. ``report``: what was understood when it was read."""

    frame: pd.DataFrame
    types: dict[str, FeatureType]
    report: TableReport = NOTHING

    def rows(self, which: NDArray[np.bool_]) -> "Table":
        return Table(self.frame.loc[which].reset_index(drop=True), self.types, self.report)


def read(
    body: bytes, format_: Format, known: Mapping[str, FeatureType] | None = None, options: ReadOptions = AS_IT_COMES
) -> Table:
    """Read a table. ``known``: the existing types of columns, which the table must fit. Raises BadTrainingData."""
    known = known or {}
    frame, is_text, notes = READERS[format_](body, options)
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    _refuse_unusable(frame)
    _refuse_strangers(frame, options)
    names = list(map(str, frame.columns))
    columns = {name: _column(name, frame[name], is_text, options, known.get(name)) for name in names}
    report = TableReport(len(frame), [_reported(column, options) for column in columns.values()], notes)
    values = pd.DataFrame({name: column.values for name, column in columns.items()})
    return Table(values, {name: column.type for name, column in columns.items()}, report)


def concat(tables: list[Table]) -> Table:
    """Concatenate tables of the same columns. Raises BadTrainingData if one has texts where another has numbers."""
    types = joint_types([table.types for table in tables])
    frames = [table.frame[list(types)] for table in tables]
    return Table(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], types)


def joint_types(several: Sequence[Mapping[str, FeatureType]]) -> dict[str, FeatureType]:
    """Return the types of the concatenation: number and integer make number. Raises BadTrainingData."""
    joint = dict(several[0])
    for types in several[1:]:
        others = [name for name in joint if (joint[name] in TEXTS) != (types.get(name) in TEXTS)]
        if others:
            raise BadTrainingData(f"column {others[0]!r} is of type {joint[others[0]]} and of type {types.get(others[0])}")
        joint |= {name: "number" for name, type_ in types.items() if joint[name] == "integer" and type_ == "number"}
    return joint


def to_parquet(table: Table) -> bytes:
    fields = [pa.field(name, pa.string() if type_ in TEXTS else pa.float64()) for name, type_ in table.types.items()]
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
    return texts_of(column) if type_ in TEXTS else column.astype(np.float64)


def _refuse_unusable(frame: pd.DataFrame) -> None:
    if frame.columns.has_duplicates:
        raise BadTrainingData("each column needs a name of its own")
    if any(not name.strip() or len(name) > MAX_NAME for name in frame.columns):
        raise BadTrainingData(f"each column needs a name, of at most {MAX_NAME} characters")
    if not 2 <= len(frame.columns) <= MAX_COLUMNS:
        raise BadTrainingData(f"{len(frame.columns)} columns; it takes a target and 1 to {MAX_COLUMNS - 1} features")
    if frame.size > MAX_CELLS:
        raise BadTrainingData(f"{frame.size:,} cells; at most {MAX_CELLS:,}")
    if frame.empty:
        raise BadTrainingData("there are no rows")


def _refuse_strangers(frame: pd.DataFrame, options: ReadOptions) -> None:
    named = [name for name in (*options.types, *options.drop) if name not in frame.columns]
    if named:
        raise BadTrainingData(
            f"types and drop name columns that are not there: {listed(named)}; there are {listed(list(map(str, frame.columns)))}"
        )


def _column(name: str, raw: "pd.Series[Any]", is_text: bool, options: ReadOptions, known: FeatureType | None) -> Column:
    """Read a column, as a known type if it has one: that of the rows before."""
    said = options.types.get(name) if known is None else None
    column = column_types.understand(name, raw, is_text, options, _as_known(known) or said)
    return _fitted(name, column, known) if known else column


def _as_known(known: FeatureType | None) -> ReadType | None:
    return "category" if known == "category" else "text" if known == "text" else None


def _fitted(name: str, column: Column, known: FeatureType) -> Column:
    values, found = column.values, column.type
    if found == known or values.isna().all():
        return column if found == known else Column(_empty(values, known), known, column.report)
    if (known, found) in (("number", "integer"), ("integer", "number")):
        return Column(values, "number", column.report)
    if known == "boolean" and found == "integer" and values.dropna().isin((0, 1)).all():
        return Column(values, known, column.report)
    example = str(values.dropna().iloc[0])[:100]
    if known in NUMBERS and found == "category" and pd.to_numeric(values.dropna(), errors="coerce").notna().all():
        return Column(pd.to_numeric(values).astype(np.float64), known, column.report)  # of more digits than a number keeps
    raise BadTrainingData(f"column {name!r} is of type {known} so far, and what is sent is of type {found}, as {example!r}")


def _empty(values: "pd.Series[Any]", known: FeatureType) -> "pd.Series[Any]":
    return pd.Series([None] * len(values), dtype=object) if known in TEXTS else pd.Series(np.nan, index=values.index)


def _reported(column: Column, options: ReadOptions) -> ColumnReport:
    ignored = column.report.name in options.ignored
    return msgspec.structs.replace(column.report, type="ignore", why="it is not used", doubts=()) if ignored else column.report
