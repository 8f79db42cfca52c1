"""The rows of a training: from the job, a data set or mldeploy itself; and the changes of the data set afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from compare_and_set import CompareAndSet
from modeler import dataset_parts, keyed_rows, table
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.table import Table
from models.card import Card
from models.datasets import DatasetRecord, Datasets, Part, scoped, unscoped_name
from models.feature import TEXTS
from models.input_errors import listed
from models.options import AUTO, TEST_SHARE, TrainTask
from models.packaged import PACKAGED_ESTIMATOR, packaged_csv, packaged_schema
from models.reading import AS_IT_COMES, ReadOptions, reading_of
from models.store import Store


@dataclass(frozen=True, slots=True)
class Source:
    """``name``: of the data set. ``record``: of the data set when the training began. ``sent``: the rows came with the job or
    with mldeploy, and are not in the data set yet. ``parts``: where the rows are stored, once they are. ``group`` and ``time``:
    the champion's, as in TrainOptions. ``sources``: digests of the table that was sent. ``reading``: how
    the table is read."""

    name: str
    table: Table
    target: str
    weight: str
    test_share: float
    estimator: str
    record: DatasetRecord | None
    sent: bool
    parts: tuple[Part, ...] = ()
    group: str = ""
    time: str = ""
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reading: ReadOptions = AS_IT_COMES

    def stored(self, parts: Sequence[Part]) -> "Source":
        return replace(self, parts=tuple(parts))


def training_rows(task: TrainTask, payload: bytes, champion: Card | None, datasets: Datasets, store: Store) -> Source:
    """Raises BadTrainingData, LostRows or OSError."""
    source = _with_target(_rows(task, payload, champion, datasets, store), task.options.target)
    kept = champion.data if champion else source.record
    if kept is None:
        return source
    there = source.table.types
    return replace(source, group=kept.group if kept.group in there else "", time=kept.time if kept.time in there else "")


def _with_target(source: Source, asked: str) -> Source:
    """Choose the target, the last column if nobody says which, and leave out rows without it."""
    target = asked or source.target or list(source.table.types)[-1]
    guessed = () if asked or source.target else (f"it predicts {target!r}, the last column: give target=… for another",)
    warnings = (*guessed, *source.warnings)
    gone = source.table.frame[target].isna().to_numpy() if target in source.table.types else np.zeros(0, dtype=np.bool_)
    if not gone.any() or gone.all():
        return replace(source, target=target, warnings=warnings)
    told = f"{int(gone.sum()):,} of {len(gone):,} rows have no value of {target!r}, and were left out"
    return replace(source, table=source.table.rows(~gone), target=target, warnings=(*warnings, told))


def _rows(task: TrainTask, payload: bytes, champion: Card | None, datasets: Datasets, store: Store) -> Source:
    options = task.options
    name = _name(task, champion)
    record = datasets.find(name).record
    target, weight = _target(champion, record)
    share, estimator = _test_share(task, champion, record), AUTO
    reading = reading_of(options).over(record.reading if record else None)
    if task.format:
        sent = table.read(payload, task.format, options=reading)
        _refuse_another_table(task, champion, sent)
        if not options.target and target not in sent.types:
            target = ""  # the champion had another table; this one's target is its last column
        weight = weight if weight in sent.types else ""
        rows, warnings = _unique(sent, record.key if record else ())
        source = dataset_parts.source_of(payload)
        return Source(name, rows, target, weight, share, estimator, record, True, (), "", "", (source,), warnings, reading)
    if record:
        rows = dataset_parts.read(store, record.parts)
        return Source(name, rows, target, weight, share, estimator, record, False, record.parts, reading=record.reading)
    packaged = packaged_csv(options.model) if not options.dataset else None
    if packaged is None:
        raise BadTrainingData(f"there are no rows to train {options.model} on: no data set {unscoped_name(name)}; send a CSV")
    return Source(name, table.read(packaged, "csv"), target, weight, share, PACKAGED_ESTIMATOR, None, True)


def _refuse_another_table(task: TrainTask, champion: Card | None, sent: Table) -> None:
    """Raise BadTrainingData for a table that was sent without a model's name and does not have the default model's columns."""
    name = task.options.model
    schema = champion.schema if champion else packaged_schema(name)
    if task.by_default and schema and not set(schema.names) <= set(sent.types):
        raise BadTrainingData(
            f"these are not the columns of {name} ({listed(schema.names)}): give model=… for a model of its own"
        )


def _unique(sent: Table, key: tuple[str, ...]) -> tuple[Table, tuple[str, ...]]:
    """Return the rows that are sent for a data set with this key, and what is to be said about them. Raises BadTrainingData."""
    if not key:
        return sent, ()
    columns = listed(list(key))
    if not set(key) <= set(sent.types):
        return sent, (f"the rows of the data set were unique by {columns}, which this table does not have: every row counts",)
    rows = keyed_rows.last_of_each(sent, key)
    left_out = len(sent.frame) - len(rows.frame)
    if not left_out:
        return rows, ()
    return rows, (f"{left_out:,} rows were left out: by {columns}, the key of the data set, a later one counts",)


def _name(task: TrainTask, champion: Card | None) -> str:
    options = task.options
    if options.dataset:
        return task.dataset or options.dataset
    if task.format or champion is None:
        return scoped(task.caller, options.model)
    return champion.data.dataset or scoped(task.caller, options.model)


def dataset_changes(source: Source, made_of: Dataset, promoted: bool, datasets: Datasets) -> list[CompareAndSet]:
    """The changes of the data set's record. The rows that were sent replace it if their version was promoted, or create it if
    there is none. The first training fixes the target and the test share."""
    found = datasets.find(source.name)
    record, target, weight = found.record, made_of.schema.target, made_of.weight
    if record is None:
        first = dataset_parts.first(source.name, source.table, target, weight, source.test_share, source.parts[0])
        return datasets.changes(found, _with_options(first, made_of, source.reading)) if source.sent else []
    if source.sent and promoted:
        added = _added_since(source, record)
        if added is not None:
            now = dataset_parts.replaced(record, source.table, target, weight, source.test_share, source.parts[0], added)
            return datasets.changes(found, _with_options(now, made_of, source.reading))
    if not record.test_share:
        fixed = msgspec.structs.replace(record, target=target, weight=weight, test_share=source.test_share)
        return datasets.changes(found, _with_options(fixed, made_of, source.reading))
    return []


def _with_options(record: DatasetRecord, made_of: Dataset, reading: ReadOptions) -> DatasetRecord:
    return msgspec.structs.replace(record, group=made_of.split.group, time=made_of.split.time, reading=reading)


def _added_since(source: Source, record: DatasetRecord) -> list[Part] | None:
    """The parts that were added since the training began. None if they do not fit the rows that were sent (other columns, or
    perhaps the same keys), or if the data set was changed otherwise (rows deleted, replaced, merged): then it stays as it is."""
    known, key = (source.record.parts, source.record.key) if source.record else ((), ())
    if [part.sha256 for part in record.parts[: len(known)]] != [part.sha256 for part in known] or record.key != key:
        return None
    ours_already = {part.sha256 for part in source.parts}
    added = [part for part in record.parts[len(known) :] if part.sha256 not in ours_already]
    texts = {name for name, type_ in record.types.items() if type_ in TEXTS}
    ours = {name for name, type_ in source.table.types.items() if type_ in TEXTS}
    fits = set(record.types) == set(source.table.types) and texts == ours and not record.key
    return added if fits or not added else None


def _target(champion: Card | None, record: DatasetRecord | None) -> tuple[str, str]:
    """Target and weight: those of the model, else those of the data set."""
    if champion:
        return champion.schema.target, champion.data.weight
    return (record.target, record.weight) if record else ("", "")


def _test_share(task: TrainTask, champion: Card | None, record: DatasetRecord | None) -> float:
    requested = task.options.test_share
    fixed = record.test_share if record and record.test_share else champion.data.test_share if champion else 0.0
    if requested and fixed and requested != fixed:
        raise BadTrainingData(
            f"the test share was fixed at {fixed:g} by the first training, so that a test row stays one: "
            f"it cannot be {requested:g}"
        )
    return fixed or requested or TEST_SHARE
