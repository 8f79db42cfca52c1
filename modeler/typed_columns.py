"""Columns of typed values, as Parquet and NDJSON have them."""

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from modeler import date_texts
from modeler.errors import BadTrainingData
from modeler.text_columns import (
    MAX_DIGITS,
    MAX_EXACT,
    Understood,
    as_type,
    epoch_doubt,
    kept_texts,
    of_texts,
    refuse_infinite,
    texts_of,
)
from models.reading import ReadOptions, ReadType


def of_values(name: str, raw: "pd.Series[Any]", options: ReadOptions, said: ReadType | None) -> Understood:
    """Find the type of a column of typed values. Raises BadTrainingData."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        raw = raw.astype(object)  # its texts are shared, not copied
    if said in ("category", "text", "ignore"):
        return kept_texts(name, raw, "as was said", (), said)
    if pd.api.types.is_bool_dtype(raw):
        return Understood(raw.astype(np.float64), "boolean", "it came as booleans")
    if pd.api.types.is_datetime64_any_dtype(raw):
        return Understood(pd.Series(date_texts.seconds(raw), index=raw.index), "date", "it came as dates")
    if pd.api.types.is_numeric_dtype(raw):
        return _of_numbers(name, raw, said)
    return _of_objects(name, raw, options, said)


def _of_objects(name: str, raw: "pd.Series[Any]", options: ReadOptions, said: ReadType | None) -> Understood:
    kinds = {type(value) for value in raw.dropna()}
    if not kinds:
        return Understood(pd.Series(np.nan, index=raw.index), as_type(said) or "number", "it has no value")
    if kinds == {bool}:
        return Understood(raw.map(float, na_action="ignore").astype(np.float64), "boolean", "it came as booleans")
    if kinds <= {int, float, Decimal}:
        return _of_numbers(name, raw, said)
    if all(issubclass(kind, date) for kind in kinds):
        seconds = date_texts.seconds(pd.to_datetime(raw, utc=True))
        return Understood(pd.Series(seconds, index=raw.index), "date", "it came as dates")
    if not kinds <= {str, int, float, bool}:
        raise BadTrainingData(f"column {name!r} holds lists, objects or the like; it takes plain values")
    found = of_texts(name, raw if kinds == {str} else texts_of(raw), options, said, guess_numbers=False)
    mixed = () if kinds == {str} else ("has values of several kinds, which are taken as texts",)
    return found._replace(doubts=(*found.doubts, *mixed))


def _of_numbers(name: str, raw: "pd.Series[Any]", said: ReadType | None) -> Understood:
    present = raw.dropna()
    integers = _integers(present)
    if any(abs(value) >= 10**MAX_DIGITS for value in integers):
        raise BadTrainingData(f"column {name!r} holds numbers that are too large, of more than {MAX_DIGITS} digits")
    if any(abs(value) > MAX_EXACT for value in integers):
        texts = pd.Series([None if gone else _exact(value) for value, gone in zip(raw, raw.isna(), strict=True)], dtype=object)
        doubt = "is taken as text, to keep it exact: it has integers of more digits than a number keeps"
        return kept_texts(name, texts, "its integers are exact as texts", (doubt,))
    try:
        values = raw.astype(np.float64)
    except OverflowError:
        raise BadTrainingData(f"column {name!r} holds numbers that are too large") from None
    refuse_infinite(name, values)
    if said == "date":
        moments, unit = date_texts.epoch(np.asarray(values, dtype=np.float64))
        return Understood(pd.Series(moments, index=raw.index), "date", f"as was said, in {unit or 's'} since 1970")
    known = values.dropna()
    only_integers = {type(value) for value in present} == {int} if raw.dtype == object else pd.api.types.is_integer_dtype(raw)
    whole = only_integers or (len(known) < len(values) and bool((known % 1 == 0).all()))  # gaps make floats of integers
    if said == "boolean" and known.isin((0, 1)).all():
        return Understood(values, "boolean", "as was said")
    doubts = () if said else epoch_doubt(known)
    return Understood(values, "integer" if whole and len(known) and said != "number" else "number", "it came as numbers", doubts)


def _integers(present: "pd.Series[Any]") -> list[int]:
    """Return the integers that may be too large for a float."""
    if present.dtype == object:
        return [int(value) for value in present if isinstance(value, int) or (isinstance(value, Decimal) and _is_whole(value))]
    return [int(present.min()), int(present.max())] if len(present) and pd.api.types.is_integer_dtype(present) else []


def _is_whole(value: Decimal) -> bool:
    return value.is_finite() and value == value.to_integral_value()


def _exact(value: Any) -> str:
    whole = isinstance(value, Decimal) and _is_whole(value)
    return str(int(value)) if whole else str(value)
