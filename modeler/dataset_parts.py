"""The rows of data sets in the store: each part is a Parquet file that is named by its sha256 and stored once."""

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

MAX_PARTS = 64  # of a data set; then they are merged into one
MAX_ROWS = 5_000_000
FOLDER = "_datasets"  # not a valid name of a model


class LostRows(RuntimeError):
    """A part of a data set is missing from the store, or has changed."""


def write(store: Store, table: Table) -> Part:
    """Store a table as a part. Raises OSError."""
    content = to_parquet(table)
    part = Part(hashlib.sha256(content).hexdigest(), len(table.frame), len(content))
    store.write_once(path(part.sha256), content)
    return part


def read(store: Store, parts: Sequence[Part]) -> Table:
    """Read all rows, in the order in which they were added. Raises LostRows or OSError."""
    return concat([_read_part(store, part) for part in parts])


def path(sha256: str) -> str:
    return f"{FOLDER}/{sha256}.parquet"


def first(name: str, table: Table, target: str, weight: str, test_share: float, part: Part) -> DatasetRecord:
    """Return the record of a new data set."""
    now = timestamp()
    return DatasetRecord(name, target, table.types, test_share, (part,), now, now, weight)


def replaced(
    record: DatasetRecord, table: Table, target: str, weight: str, test_share: float, part: Part, added: Sequence[Part]
) -> DatasetRecord:
    """Return the record with the rows of a promoted training, and the parts that were ``added`` since it started."""
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
    """Return the rows of ``sent`` that are not in the data set yet, each once, and the number of the others. Raises
    BadTrainingData if the columns differ."""
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
    """Return the rows without duplicates, and the number of duplicates."""
    again = pd.Series(row_hashes(sent, exact=True)).duplicated().to_numpy()
    return sent.rows(~again), int(again.sum())


def extended(record: DatasetRecord, store: Store, known: Table, fresh: Table) -> DatasetRecord:
    """Return the record with the new rows, which are stored. Raises OSError."""
    types = joint_types([known.types, fresh.types])
    many = len(record.parts) >= MAX_PARTS
    parts = (write(store, concat([known, fresh])),) if many else (*record.parts, write(store, fresh))
    return msgspec.structs.replace(record, types=types, parts=parts, updated_at=timestamp(), revision=record.revision + 1)


def without(record: DatasetRecord, store: Store, gone: Table) -> DatasetRecord | None:
    """Return the record without the rows of ``gone``; None if no row is left. Raises BadTrainingData, LostRows or OSError."""
    known = read(store, record.parts)
    stays = ~_is_in(known, gone)
    if not stays.any():
        return None
    if stays.all():
        return record
    part = write(store, known.rows(stays))
    return msgspec.structs.replace(record, parts=(part,), updated_at=timestamp(), revision=record.revision + 1)


def contains_any(store: Store, sha256: str, gone: Table) -> bool:
    """Return whether a part has any of these rows, by the columns that both have; a missing part has none."""
    try:
        part = _read_part(store, Part(sha256, 0, 0))
    except LostRows:
        return False
    both = set(part.types) & set(gone.types)
    return bool(both) and bool(np.isin(_hashed(part, both), _hashed(gone, both)).any())


def _is_in(known: Table, gone: Table) -> NDArray[np.bool_]:
    """Return which rows of ``known`` are in ``gone``. Raises BadTrainingData."""
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
