"""The rows of data sets in the store: each part is a Parquet file that is named by its sha256 and stored once."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeler.errors import BadTrainingData
from modeler.split import row_hashes
from modeler.table import Table, concat, from_parquet, joint_types, to_parquet
from models.datasets import DatasetRecord, Part
from models.feature import FeatureType
from models.input_errors import listed
from models.store import Store

MAX_PARTS = 64  # of a data set; then they are merged into one
MAX_SOURCES = 1000  # of a data set; the oldest are forgotten
MAX_ROWS = 5_000_000
FOLDER = "_datasets"  # not a valid name of a model


class LostRows(RuntimeError):
    """A part of a data set is missing from the store, or has changed."""


def write(store: Store, table: Table, sources: Sequence[str] = ()) -> Part:
    """Store a table as a part. ``sources``: see Part. Raises OSError."""
    content = to_parquet(table)
    part = Part(hashlib.sha256(content).hexdigest(), len(table.frame), len(content), tuple(sources))
    store.write_once(path(part.sha256), content)
    return part


def source_of(body: bytes) -> str:
    """Return the digest of a table as it was sent."""
    return _short(hashlib.sha256(body).hexdigest())


def has_source(record: DatasetRecord, source: str, sent: Table) -> bool:
    """Return whether this very table was added before: the same bytes, or the same rows in the same order in another format."""
    known = {each for part in record.parts for each in (_short(part.sha256), *part.sources)}
    return source in known or _short(hashlib.sha256(to_parquet(sent)).hexdigest()) in known


def _merged_sources(parts: Sequence[Part]) -> list[str]:
    """Return what is remembered of parts that are replaced by one."""
    return [each for part in parts for each in (*part.sources, _short(part.sha256))]


def _short(sha256: str) -> str:
    return sha256[:32]  # 128 bits


def read(store: Store, parts: Sequence[Part]) -> Table:
    """Read all rows, in the order in which they were added. Raises LostRows or OSError."""
    return concat([_read_part(store, part) for part in parts])


def path(sha256: str) -> str:
    return f"{FOLDER}/{sha256}.parquet"


def first(
    name: str, table: Table, target: str, weight: str, test_share: float, part: Part, key: tuple[str, ...] = ()
) -> DatasetRecord:
    """Return the record of a new data set."""
    now = timestamp()
    return DatasetRecord(name, target, table.types, test_share, (part,), now, now, weight, key=key)


def replaced(
    record: DatasetRecord, table: Table, target: str, weight: str, test_share: float, part: Part, added: Sequence[Part]
) -> DatasetRecord:
    """Return the record with the rows of a promoted training, and the parts that were ``added`` since it started. The key stays
    if the table has its columns."""
    return msgspec.structs.replace(
        record,
        target=target,
        weight=weight,
        test_share=record.test_share or test_share,
        types=table.types,
        parts=(part, *added),
        updated_at=timestamp(),
        revision=record.revision + 1,
        key=record.key if set(record.key) <= set(table.types) else (),
    )


def extended(record: DatasetRecord, store: Store, fresh: Table, source: str) -> DatasetRecord:
    """Return the record with more rows, which are stored. Raises LostRows or OSError."""
    types = joint_types([record.types, fresh.types])
    if len(record.parts) >= MAX_PARTS:
        whole = concat([read(store, record.parts), fresh])
        parts: tuple[Part, ...] = (write(store, whole, (*_merged_sources(record.parts), source)),)
    else:
        parts = (*record.parts, write(store, fresh, (source,)))
    return _changed(record, parts, types)


def with_replaced(record: DatasetRecord, store: Store, stays: NDArray[np.bool_], fresh: Table, source: str) -> DatasetRecord:
    """Return the record without the stored rows that do not stay, and with the fresh ones. Parts that keep all their rows remain.
    Raises LostRows or OSError."""
    parts, start = list[Part](), 0
    for part in record.parts:
        kept = stays[start : start + part.rows]
        start += part.rows
        if kept.all():
            parts.append(part)
        elif kept.any():
            parts.append(write(store, _read_part(store, part).rows(kept), _merged_sources([part])))
    return extended(msgspec.structs.replace(record, parts=tuple(parts)), store, fresh, source)


def without(record: DatasetRecord, store: Store, gone: Table) -> DatasetRecord | None:
    """Return the record without any row that is like one of ``gone``; None if no row is left. Raises BadTrainingData, LostRows or
    OSError."""
    known = read(store, record.parts)
    stays = ~_is_in(known, gone)
    if not stays.any():
        return None
    if stays.all():
        return record
    return _changed(record, (write(store, known.rows(stays), _merged_sources(record.parts)),), record.types)


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


def _changed(record: DatasetRecord, parts: tuple[Part, ...], types: dict[str, FeatureType]) -> DatasetRecord:
    parts = _with_latest_sources(parts)
    return msgspec.structs.replace(record, types=types, parts=parts, updated_at=timestamp(), revision=record.revision + 1)


def _with_latest_sources(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    too_many, found = sum(len(part.sources) for part in parts) - MAX_SOURCES, list[Part]()
    for part in parts:
        kept = part.sources[max(too_many, 0) :]
        too_many -= len(part.sources) - len(kept)
        found.append(msgspec.structs.replace(part, sources=kept))
    return tuple(found)


def _read_part(store: Store, part: Part) -> Table:
    try:
        content = store.read(path(part.sha256))
    except FileNotFoundError:
        raise LostRows(f"{part.rows} rows are gone from the store ({path(part.sha256)}): send them again") from None
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise LostRows(f"{path(part.sha256)} is not what was stored: send its {part.rows} rows again")
    return from_parquet(content)
