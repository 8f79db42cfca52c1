"""Rows that are unique by the columns of a key: of several with the same key the last one counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler.errors import BadTrainingData
from modeler.split import row_hashes
from modeler.table import Table, concat
from models.input_errors import listed

MAX_EXACT = 2**53  # from here on a float64 cannot tell neighbouring integers apart


@dataclass(frozen=True, slots=True)
class Merged:
    """``stays`` (stored rows,): which stored rows are not replaced. ``fresh``: the rows that come in, ``added`` with new keys and
    ``replaced`` for stored ones. ``unchanged`` rows are stored already."""

    stays: NDArray[np.bool_]
    fresh: Table
    added: int
    replaced: int
    unchanged: int


def last_of_each(sent: Table, key: Sequence[str]) -> Table:
    """Return the last row of each key. Raises BadTrainingData if a column is missing, has gaps, or numbers that a key cannot tell
    apart."""
    for name in key:
        _check(sent, name)
    return sent.rows(~sent.frame.duplicated(list(key), keep="last").to_numpy())


def merge(stored: Table, sent: Table, key: Sequence[str]) -> Merged:
    """Compare stored rows with rows that are unique by the key. Raises BadTrainingData if the stored ones are not."""
    if stored.frame.duplicated(list(key)).any():
        stored_ones = f"rows that are stored already are not unique by {listed(list(key))}"
        raise BadTrainingData(f"{stored_ones}, and nobody said which of them count: make a new data set with this key")
    both, count = concat([stored, sent]), len(stored.frame)
    keys = both.frame.groupby(list(key), sort=False, dropna=False).ngroup().to_numpy()
    whole = row_hashes(both, exact=True)
    place = pd.Index(keys[:count]).get_indexer(pd.Index(keys[count:]))  # of the stored row of the same key; -1: none
    known = place >= 0
    same = known & (whole[place] == whole[count:])
    stays = np.ones(count, dtype=np.bool_)
    stays[place[known & ~same]] = False
    return Merged(stays, sent.rows(~same), int((~known).sum()), int((known & ~same).sum()), int(same.sum()))


def _check(table: Table, name: str) -> None:
    if name not in table.types:
        raise BadTrainingData(f"there is no column {name!r} of the key; the columns are {listed(list(table.types))}")
    column, what = table.frame[name], f"column {name!r} is of the key and has"
    if column.isna().any():
        raise BadTrainingData(f"{what} missing values, first in row {int(column.isna().argmax()) + 1}")
    if column.dtype != object and (column.abs() >= MAX_EXACT).any():
        raise BadTrainingData(f"{what} numbers beyond {MAX_EXACT:,}, which are not exact: send them as text")
