"""Chooses the test rows by a hash of a row's features alone. A test row stays one as the data grow, whatever the order of rows
and columns, the notation of numbers and the row's label."""

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler.table import Table

STEPS = 1_000_000  # resolution of a share


def row_hashes(table: Table, without: Collection[str] = (), exact: bool = False) -> NDArray[np.uint64]:
    """Return a hash of each row's values, in the order of the columns' names. Text that is a number is hashed as that number,
    unless ``exact``, which is for comparing rows and not for the split."""
    columns = {name: _hashes(table.frame[name], exact) for name in sorted(table.types) if name not in without}
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False), dtype=np.uint64)


def below(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Return which rows are test rows at this share. Those of a smaller share are a subset of those of a larger one."""
    return np.asarray(hashes % STEPS < round(share * STEPS))


def digest(hashes: NDArray[np.uint64]) -> str:
    """Return the sha256 of rows, whatever their order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def _hashes(column: "pd.Series[Any]", exact: bool) -> NDArray[np.uint64]:
    if column.dtype != object:
        return pd.util.hash_array(column.to_numpy(dtype=np.float64) + 0.0, categorize=False)  # -0.0 and 0.0 are one number
    codes, distinct = pd.factorize(column, use_na_sentinel=True)
    numbers = pd.to_numeric(pd.Series(distinct, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    texts = pd.util.hash_array(np.asarray(distinct, dtype=object), categorize=False) if len(distinct) else np.empty(0, np.uint64)
    as_numbers = pd.util.hash_array(numbers + 0.0, categorize=False) if len(distinct) else np.empty(0, np.uint64)
    missing = pd.util.hash_array(np.array([np.nan]), categorize=False)
    known = np.append(texts if exact else np.where(np.isnan(numbers), texts, as_numbers), missing)
    return np.asarray(known[codes], dtype=np.uint64)
