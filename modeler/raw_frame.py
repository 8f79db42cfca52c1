"""The data frame that an imported model is asked with: column by column with the dtypes of its sample, whatever is in a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from models.feature import Feature, Value

Frames = list[tuple[list[int], pd.DataFrame]]


def frames(features: Sequence[Feature], rows: Sequence[Sequence[Value]]) -> Frames:
    """Return data frames, and of each the places of its rows. Rows whose gaps change a column's dtype (integers, booleans) are in
    a frame of their own, so that they change nothing for others: each row gets what it would get alone."""
    groups: dict[tuple[bool, ...], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(_strange(features, row), []).append(place)
    return [(places, _frame(features, [rows[place] for place in places], strange)) for strange, places in groups.items()]


def _strange(features: Sequence[Feature], row: Sequence[Value]) -> tuple[bool, ...]:
    """Return for each column whether the row has no value there that its dtype holds."""
    return tuple(not _fits(feature.dtype, value) for feature, value in zip(features, row, strict=True))


def _fits(dtype: str, value: Value) -> bool:
    if dtype == "bool":
        return value is not None
    if dtype.startswith(("int", "uint")):
        return value is not None and float(value).is_integer()
    return True


def _frame(features: Sequence[Feature], rows: list[Sequence[Value]], strange: tuple[bool, ...]) -> pd.DataFrame:
    columns = zip(features, zip(*rows, strict=True), strange, strict=True)
    return pd.DataFrame({feature.name: _column(feature, values, odd) for feature, values, odd in columns})


def _column(feature: Feature, values: Sequence[Any], strange: bool) -> Any:
    dtype: Any = feature.dtype
    if strange:
        return pd.Series([np.nan if value is None else value for value in values], dtype="float64")
    if dtype == "category":
        return pd.Categorical(list(values), categories=list(feature.categories))
    if dtype.startswith("datetime64"):
        moments: Any = pd.to_datetime(pd.Series(list(values), dtype=object), utc=True, format="ISO8601")
        return (moments if "," in dtype else moments.dt.tz_localize(None)).astype(dtype)
    if dtype.startswith(("int", "uint")):
        return pd.Series([int(value or 0) for value in values], dtype=dtype)
    return pd.Series([np.nan if value is None else value for value in values], dtype=dtype)
