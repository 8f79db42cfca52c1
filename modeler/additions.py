"""Adds a table to a data set. Every row counts, and a table that was added before is left out as a whole; or, as asked, each row
comes in once, or rows are unique by a key."""

from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from modeler import dataset_parts, keyed_rows
from modeler.errors import BadTrainingData
from modeler.split import row_hashes
from modeler.table import Table
from models.datasets import DatasetRecord, unscoped_name
from models.input_errors import listed
from models.options import AddTask
from models.results import Added
from models.store import Store

SAME_FILE = "this very table was added before, so nothing was added; again=true adds it all the same"


@dataclass(frozen=True, slots=True)
class _Counts:
    added: int
    duplicates: int = 0
    replaced: int = 0
    unchanged: int = 0


def create(store: Store, task: AddTask, sent: Table, source: str) -> tuple[DatasetRecord, Added]:
    """Make a data set of a table. ``source``: its digest as it was sent. Raises BadTrainingData or OSError."""
    rows = sent
    if task.key:
        rows = keyed_rows.last_of_each(sent, task.key)
    elif task.dedupe:
        rows = _each_once(sent)
    part = dataset_parts.write(store, rows, (source,))
    record = dataset_parts.first(task.dataset, rows, "", "", 0.0, part, task.key)
    record = msgspec.structs.replace(record, reading=task.reading)
    return record, _result(record, _Counts(record.rows, len(sent.frame) - record.rows))


def add(store: Store, record: DatasetRecord, task: AddTask, sent: Table, source: str) -> tuple[DatasetRecord, Added]:
    """Add a table to a data set. Raises BadTrainingData, LostRows or OSError."""
    sent = _in_order(record, sent)
    record = msgspec.structs.replace(record, reading=task.reading.over(record.reading))
    if record.key and task.key and set(task.key) != set(record.key):
        raise BadTrainingData(f"the rows of {unscoped_name(record.name)} are unique by {listed(list(record.key))}: its key stays")
    key = record.key or task.key
    same = dataset_parts.has_source(record, source, sent)
    if key:
        record, counts = _by_key(store, msgspec.structs.replace(record, key=key), sent, source)
    elif task.dedupe:
        record, counts = _new_ones(store, record, sent, source)
    elif same and not task.again:
        return record, _result(record, _Counts(0, len(sent.frame)), same, [SAME_FILE])
    else:
        record, counts = _extended(store, record, sent, source), _Counts(len(sent.frame))
    return record, _result(record, counts, same)


def _by_key(store: Store, record: DatasetRecord, sent: Table, source: str) -> tuple[DatasetRecord, _Counts]:
    last = keyed_rows.last_of_each(sent, record.key)
    merged = keyed_rows.merge(dataset_parts.read(store, record.parts), last, record.key)
    counts = _Counts(merged.added, len(sent.frame) - len(last.frame), merged.replaced, merged.unchanged)
    if len(merged.fresh.frame):
        _refuse_too_many(record, merged.added)
        record = dataset_parts.with_replaced(record, store, merged.stays, merged.fresh, source)
    return record, counts


def _new_ones(store: Store, record: DatasetRecord, sent: Table, source: str) -> tuple[DatasetRecord, _Counts]:
    once = _each_once(sent)
    stored = row_hashes(dataset_parts.read(store, record.parts), exact=True)
    fresh = once.rows(~np.isin(row_hashes(once, exact=True), stored))
    counts = _Counts(len(fresh.frame), len(sent.frame) - len(fresh.frame))
    return (_extended(store, record, fresh, source) if counts.added else record), counts


def _extended(store: Store, record: DatasetRecord, fresh: Table, source: str) -> DatasetRecord:
    _refuse_too_many(record, len(fresh.frame))
    return dataset_parts.extended(record, store, fresh, source)


def _each_once(sent: Table) -> Table:
    return sent.rows(~pd.Series(row_hashes(sent, exact=True)).duplicated().to_numpy())


def _in_order(record: DatasetRecord, sent: Table) -> Table:
    """Return the table with its columns in the data set's order. Raises BadTrainingData if they are others, or if the target or
    the weight has gaps."""
    name = unscoped_name(record.name)
    others = set(sent.types) ^ set(record.types)
    if others:
        differ = f"{listed(sorted(others))} differ"
        raise BadTrainingData(f"the columns are not those of {name} ({listed(list(record.types))}): {differ}")
    for column in filter(None, (record.target, record.weight)):
        gaps = sent.frame[column].isna()
        if gaps.any():
            raise BadTrainingData(f"column {column!r} has missing values, first in row {int(gaps.argmax()) + 1}")
    return Table(sent.frame[list(record.types)], {column: sent.types[column] for column in record.types}, sent.report)


def _refuse_too_many(record: DatasetRecord, more: int) -> None:
    if record.rows + more > dataset_parts.MAX_ROWS:
        name, rows = unscoped_name(record.name), record.rows + more
        raise BadTrainingData(f"{name} would have {rows:,} rows; at most {dataset_parts.MAX_ROWS:,}")


def _result(record: DatasetRecord, counts: _Counts, same: bool = False, warnings: list[str] | None = None) -> Added:
    return Added(
        unscoped_name(record.name),
        counts.added,
        counts.duplicates,
        record.rows,
        record.revision,
        counts.replaced,
        counts.unchanged,
        same,
        warnings or [],
    )
