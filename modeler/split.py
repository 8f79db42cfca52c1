"""Chooses the test rows, so that a test row stays one as the data grow, whatever the order of rows and columns, the notation of
numbers and the row's label.

A row is chosen by a hash of its features and of k, the number of like rows (same features, same label) before it. So equal rows
fall on both sides, as they do in life, and rows that come later get later numbers. The label is counted, not hashed. Rows of a
group are chosen together, by a hash of the group alone.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler.errors import BadTrainingData
from modeler.table import Table
from models.card import FEATURES_ALONE, NUMBERED, Data

STEPS = 1_000_000  # resolution of a share


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows of a table are for testing: a ``share`` of the rows, of the values of the column ``group``, or of the rows with
    the latest values of the column ``time``: those after ``until``. ``version``: see models.card.Data.split."""

    share: float
    group: str = ""
    time: str = ""
    until: float | None = None
    version: int = NUMBERED

    def held_out(self, table: Table, labels: Collection[str]) -> NDArray[np.bool_]:
        """Return which rows are test rows. ``labels``: the columns that are no features, target and weight; the target is the
        first. Raises BadTrainingData if a column is missing or of the wrong type."""
        if self.time:
            assert self.until is not None, "see fixed"
            return np.asarray(times(table, self.time) > self.until)
        if self.group:
            return below(group_hashes(table, self.group), self.share)
        hashes = row_hashes(table, without=labels)
        if self.version == FEATURES_ALONE:
            return below(hashes, self.share)
        return below(numbered(hashes, like_before(table, labels)), self.share)

    def fixed(self, table: Table) -> "Split":
        """Return the split of these rows by time, with its boundary. Rows of one time are on one side. Raises BadTrainingData."""
        if not self.time:
            return self
        present = np.sort(times(table, self.time))
        present = present[~np.isnan(present)]
        distinct, first = np.unique(present, return_index=True)
        if len(distinct) < 2:
            raise BadTrainingData(f"the column of time, {self.time!r}, has fewer than two different values")
        later = len(present) - first[1:]  # how many rows are for testing if distinct[1:] and later are
        place = int(np.abs(later - self.share * len(present)).argmin())
        return Split(self.share, time=self.time, until=float(distinct[place]))


def of(data: Data) -> Split:
    """Return the split that a version was made with."""
    return Split(data.test_share, data.group, data.time, data.trained_until, data.split)


def times(table: Table, name: str) -> NDArray[np.float64]:
    """Return the column of time, (rows,). Raises BadTrainingData."""
    if name not in table.types:
        raise BadTrainingData(f"there is no column {name!r} of time")
    if table.types[name] not in ("date", "integer", "number"):
        raise BadTrainingData(f"the column of time, {name!r}, is of type {table.types[name]}; it takes dates or numbers")
    return table.frame[name].to_numpy(dtype=np.float64)


def group_hashes(table: Table, name: str) -> NDArray[np.uint64]:
    """Return a hash of each row's group. Raises BadTrainingData."""
    if name not in table.types:
        raise BadTrainingData(f"there is no column {name!r} of groups")
    return row_hashes(table, without=set(table.types) - {name})


def like_hashes(table: Table, labels: Collection[str]) -> NDArray[np.uint64]:
    """Return a hash of each row's features and label, which like rows have in common; ``labels`` as for Split.held_out."""
    target, *others = labels
    return row_hashes(table, without=set(others) - {target}, exact=True)


def like_before(table: Table, labels: Collection[str]) -> NDArray[np.uint64]:
    """Return for each row the number of like rows before it."""
    return occurrences(like_hashes(table, labels))


def occurrences(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return for each hash how often it has come before, (rows,), from 0."""
    return np.asarray(pd.Series(hashes).groupby(hashes, sort=False).cumcount().to_numpy(dtype=np.uint64))


def numbered(hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hashes of rows together with their numbers; number 0 leaves a hash as it is. The mixing is that of splitmix64
    (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014)."""
    mixed = hashes ^ (numbers * np.uint64(0x9E3779B97F4A7C15))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.where(numbers == 0, hashes, mixed)


def row_hashes(table: Table, without: Collection[str] = (), exact: bool = False) -> NDArray[np.uint64]:
    """Return a hash of each row's values, in the order of the columns' names. Text that is a number is hashed as that number,
    unless ``exact``, which is for comparing rows and not for the split."""
    columns = {name: _hashes(table.frame[name], exact) for name in sorted(table.types) if name not in without}
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False), dtype=np.uint64)


def below(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Return which rows are test rows at this share. Those of a smaller share are a subset of those of a larger one."""
    return np.asarray(hashes % STEPS < round(share * STEPS))


def hash_rows(features: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of each row of a feature matrix."""
    columns = {str(place): _hash_encoded(column) for place, column in enumerate(features.T)}
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False), dtype=np.uint64)


def digest(hashes: NDArray[np.uint64]) -> str:
    """Return the sha256 of rows, whatever their order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def _hash_encoded(column: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash a column of a feature matrix: of numbers, or of texts in one of objects."""
    if column.dtype == object and any(isinstance(value, str) for value in column):
        return pd.util.hash_array(column, categorize=True)
    return _hash_numbers(column.astype(np.float64))


def _hash_numbers(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    return pd.util.hash_array(numbers + 0.0, categorize=False)  # -0.0 and 0.0 are one number


def _hashes(column: "pd.Series[Any]", exact: bool) -> NDArray[np.uint64]:
    if column.dtype != object:
        return _hash_numbers(column.to_numpy(dtype=np.float64))
    codes, distinct = pd.factorize(column, use_na_sentinel=True)
    numbers = pd.to_numeric(pd.Series(distinct, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    texts = pd.util.hash_array(np.asarray(distinct, dtype=object), categorize=False) if len(distinct) else np.empty(0, np.uint64)
    as_numbers = _hash_numbers(numbers) if len(distinct) else np.empty(0, np.uint64)
    missing = pd.util.hash_array(np.array([np.nan]), categorize=False)
    known = np.append(texts if exact else np.where(np.isnan(numbers), texts, as_numbers), missing)
    return np.asarray(known[codes], dtype=np.uint64)
