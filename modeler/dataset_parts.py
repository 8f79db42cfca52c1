"""The rows of data sets, in the store: each part one file, named by the hash of what it holds and stored once."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler.split import row_hashes
from modeler.table import BadTrainingData, Table, concat, from_parquet, joint_types, to_parquet
from models.datasets import DatasetRecord, Part
from models.input_errors import listed
from models.store import Store

MAX_PARTS = 64  # more are made one
MAX_ROWS = 5_000_000
FOLDER = "_datasets"  # a place that no model can have


class LostRows(RuntimeError):
    """A part of a data set is gone from the store, or is not what was stored."""


def write(store: Store, table: Table) -> Part:
    """Raises OSError."""
    content = to_parquet(table)
    part = Part(hashlib.sha256(content).hexdigest(), len(table.frame), len(content))
    store.write_once(path(part.sha256), content)
    return part


def read(store: Store, parts: Sequence[Part]) -> Table:
    """All rows, in the order in which they came. Raises LostRows or OSError."""
    return concat([_read_part(store, part) for part in parts])


def path(sha256: str) -> str:
    return f"{FOLDER}/{sha256}.parquet"


def first(name: str, table: Table, target: str, weight: str, test_share: float, part: Part) -> DatasetRecord:
    now = timestamp()
    return DatasetRecord(name, target, table.types, test_share, (part,), now, now, weight)


def replaced(
    record: DatasetRecord, table: Table, target: str, weight: str, test_share: float, part: Part, added: Sequence[Part]
) -> DatasetRecord:
    """The same data set with the rows of a training that won, and those that were ``added`` since it began."""
    return msgspec.structs.replace(
        record,
        target=target,
        weight=weight,
        test_share=record.test_share or test_share,
        types=table.types,
        parts=(part, *added),
        updated_at=timestamp(),
        revision=record.revision + 1,
    )


def new_rows(record: DatasetRecord, known: Table, sent: Table) -> tuple[Table, int]:
    """What of ``sent`` is not in the data set yet, each row once, and how many were. Raises BadTrainingData if the columns are
    others."""
    others = set(sent.types) ^ set(record.types)
    if others:
        differ = f"{listed(sorted(others))} differ"
        raise BadTrainingData(f"the columns are not those of {record.name} ({listed(list(record.types))}): {differ}")
    _refuse_gaps(record, sent)
    before = row_hashes(known, exact=True)
    now = row_hashes(sent, exact=True)
    fresh = ~np.isin(now, before) & ~pd.Series(now).duplicated().to_numpy()
    if len(before) + int(fresh.sum()) > MAX_ROWS:
        raise BadTrainingData(f"{record.name} would have {len(before) + int(fresh.sum()):,} rows; at most {MAX_ROWS:,}")
    frame = sent.frame.loc[fresh, list(record.types)].reset_index(drop=True)
    return Table(frame, {name: sent.types[name] for name in record.types}), int((~fresh).sum())


def each_once(sent: Table) -> tuple[Table, int]:
    """The rows without those that come again, and how many did."""
    again = pd.Series(row_hashes(sent, exact=True)).duplicated().to_numpy()
    return sent.rows(~again), int(again.sum())


def extended(record: DatasetRecord, store: Store, known: Table, fresh: Table) -> DatasetRecord:
    """Raises OSError."""
    types = joint_types([known.types, fresh.types])
    many = len(record.parts) >= MAX_PARTS
    parts = (write(store, concat([known, fresh])),) if many else (*record.parts, write(store, fresh))
    return msgspec.structs.replace(record, types=types, parts=parts, updated_at=timestamp(), revision=record.revision + 1)


def without(record: DatasetRecord, store: Store, gone: Table) -> DatasetRecord | None:
    """The record without the rows of ``gone``; None if none is left. Raises BadTrainingData, LostRows or OSError."""
    known = read(store, record.parts)
    stays = ~_among(known, gone)
    if not stays.any():
        return None
    if stays.all():
        return record
    part = write(store, known.rows(stays))
    return msgspec.structs.replace(record, parts=(part,), updated_at=timestamp(), revision=record.revision + 1)


def holds(store: Store, sha256: str, gone: Table) -> bool:
    """Whether a part holds any of these rows, by the columns that both have; one that is not there any more holds none."""
    try:
        part = _read_part(store, Part(sha256, 0, 0))
    except LostRows:
        return False
    both = set(part.types) & set(gone.types)
    return bool(both) and bool(np.isin(_hashed(part, both), _hashed(gone, both)).any())


def _among(known: Table, gone: Table) -> NDArray[np.bool_]:
    """Raises BadTrainingData."""
    if set(known.types) != set(gone.types):
        raise BadTrainingData(f"the columns are not those of the data set ({listed(list(known.types))})")
    return np.isin(_hashed(known, set(known.types)), _hashed(gone, set(known.types)))


def _hashed(table: Table, columns: set[str]) -> NDArray[np.uint64]:
    return row_hashes(table, without=set(table.types) - columns, exact=True)


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse_gaps(record: DatasetRecord, sent: Table) -> None:
    for name in (record.target, record.weight):
        if name and sent.frame[name].isna().any():
            raise BadTrainingData(f"column {name!r} has missing values, first in row {int(sent.frame[name].isna().argmax()) + 1}")


def _read_part(store: Store, part: Part) -> Table:
    try:
        content = store.read(path(part.sha256))
    except FileNotFoundError:
        raise LostRows(f"{part.rows} rows are gone from the store ({path(part.sha256)}): send them again") from None
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise LostRows(f"{path(part.sha256)} is not what was stored: send its {part.rows} rows again")
    return from_parquet(content)
