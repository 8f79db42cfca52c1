"""Columns whose texts may be numbers, booleans or dates, as in a CSV; and texts that stay texts."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modeler import date_texts, number_texts
from modeler.errors import BadTrainingData
from models.feature import FeatureType
from models.reading import ReadOptions, ReadType

# Words in a column of numbers or dates that say that there is none
NO_VALUE = frozenset(
    [
        *("-", "--", "?", ".", "..", "unknown", "missing", "none", "n.a.", "na", "nan", "tbd", "0000-00-00"),
        *("#div/0!", "#ref!", "#value!", "#name?", "#num!", "#null!"),
    ]
)
FEW = 0.05  # share of cells that are no numbers (or dates) up to which the others decide
SAMPLE = 500  # different texts that show whether any may be numbers or dates
FEW_CODES = 20  # different numbers that may be codes, as words beside them may be
MOST = 0.5  # share of numbers (or dates) from which on a column of texts is doubtful
MAX_DIGITS = 100  # of an integer
MAX_EXACT = 2**53  # beyond it a float cannot hold every integer
MAX_CELL_TEXT = 10_000  # characters of a cell …
MAX_COLUMN_TEXT = 100_000_000  # … and of a column
LEADING_ZERO = r"^[+-]?0[0-9]+$"
THREE_DECIMALS = r"^[+-]?[0-9]{1,3}\.[0-9]{3}$"
MANY_DIGITS = r"^[+-]?[0-9]{16,}$"
_WHOLE = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)


class Understood(NamedTuple):
    """A column as it was read: ``values`` as in Table, ``why`` they are of this type, and sentences about what is doubtful."""

    values: "pd.Series[Any]"
    type: FeatureType
    why: str
    doubts: tuple[str, ...] = ()


class _Found(NamedTuple):
    """A reading of distinct texts: NaN for those that it does not read."""

    type: FeatureType
    numbers: NDArray[np.float64]
    why: str
    doubts: tuple[str, ...] = ()


def plain_numbers(name: str, raw: "pd.Series[Any]") -> Understood | None:
    """Return a column of plainly written numbers, by Arrow: most columns are. None for any other."""
    texts = pa.array(raw, pa.string(), from_pandas=True)
    if texts.null_count == len(texts) or pc.any(pc.match_substring_regex(texts, f"{LEADING_ZERO}|{MANY_DIGITS}")).as_py():
        return None
    try:
        numbers = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return None
    values = pd.Series(numbers.to_numpy(zero_copy_only=False), index=raw.index)
    present = values.dropna()
    refuse_infinite(name, present)
    whole = not pc.any(pc.match_substring_regex(texts, "[^0-9+-]")).as_py()
    whole = whole or (len(present) < len(values) and bool((present % 1 == 0).all()))  # pandas writes 1.0 beside a gap
    doubt = ""
    if not whole and pc.all(pc.match_substring_regex(texts, THREE_DECIMALS)).as_py():
        doubt = number_texts.read([str(text) for text in raw.dropna().unique()], ReadOptions()).doubt
    doubts = (doubt,) if doubt else epoch_doubt(present)
    return Understood(values, "integer" if whole else "number", "its values are numbers", doubts)


def of_texts(name: str, raw: "pd.Series[Any]", options: ReadOptions, said: ReadType | None, guess_numbers: bool) -> Understood:
    codes, distinct = pd.factorize(raw, use_na_sentinel=True)
    texts = [str(text) for text in distinct]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    if said in ("ignore", "text"):
        return kept_texts(name, raw, "as was said" if said == "text" else "it is not used", (), said)
    if not texts:
        return Understood(pd.Series(np.nan, index=raw.index), as_type(said) or "number", "it has no value")
    longest = max(map(len, texts))
    if longest > MAX_CELL_TEXT:
        raise BadTrainingData(f"a cell of column {name!r} is longer than {MAX_CELL_TEXT:,} characters")
    if guess_numbers and said in (None, "number", "integer"):
        refuse_too_large(name, longest, texts)
    found, doubts = _reading(texts, counts, options, said, guess_numbers)
    if found is None:
        why = "as was said" if said else "its values are texts" if not doubts else "its values are taken as texts"
        return kept_texts(name, raw, why, doubts)
    numbers = np.append(found.numbers, np.nan)[codes]
    refuse_infinite(name, numbers)
    return Understood(pd.Series(numbers, index=raw.index), found.type, found.why, found.doubts)


def _reading(
    texts: Sequence[str], counts: NDArray[np.int64], options: ReadOptions, said: ReadType | None, guess_numbers: bool
) -> tuple[_Found | None, tuple[str, ...]]:
    """Return how the texts are read as numbers, booleans or dates; else None, and why they may be meant to be."""
    if said == "category":
        return None, ()
    if said:
        return _as_said(texts, counts, options, said), ()
    exact = _exact_reason(texts) if guess_numbers else ""
    return (None, (exact,)) if exact else _guessed(texts, counts, options, guess_numbers)


def _guessed(
    texts: Sequence[str], counts: NDArray[np.int64], options: ReadOptions, guess_numbers: bool
) -> tuple[_Found | None, tuple[str, ...]]:
    logical = _booleans(texts) if guess_numbers else None
    if logical is not None and not np.isnan(logical).any():
        return _Found("boolean", logical, "its values are true and false"), ()
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    doubts: tuple[str, ...] = ()
    if not np.isnan(date_texts.read(sample, options).seconds).all() or date_texts.read(sample, options).doubt:
        dates = date_texts.read(texts, options)
        found, doubts = _judged("date", texts, counts, dates.seconds, dates.note, dates.doubt)
        if found:
            return found, ()
    looks = number_texts.read(sample, options)
    if np.isnan(looks.values).all() and not looks.doubt:
        return None, doubts
    numbers = number_texts.read(texts, options)
    if not guess_numbers:
        return None, doubts + _said_doubt(counts, numbers.values)
    as_number, more = _judged(_number_type(texts, numbers.values), texts, counts, numbers.values, numbers.note, numbers.doubt)
    return as_number, () if as_number else doubts + more


def _judged(
    type_: FeatureType, texts: Sequence[str], counts: NDArray[np.int64], values: NDArray[np.float64], note: str, doubt: str
) -> tuple[_Found | None, tuple[str, ...]]:
    """Decide whether a column is of a type that most of its texts fit, and say what becomes of the others."""
    bad = [at for at in np.argsort(-counts, kind="stable") if math.isnan(values[at])]
    rows, wrong = int(counts.sum()), int(counts[bad].sum())
    kinds = {"date": "dates"}.get(type_, "numbers")
    why = f"its values are {kinds}" + (f": {note}" if note else "")
    doubts = (doubt,) if doubt else ()
    if not bad:
        return _Found(type_, values, why, doubts + ((f"it is read as {kinds}: {note}",) if note else ())), ()
    no_value = all(texts[at].strip().lower() in NO_VALUE for at in bad)
    shown = ", ".join(repr(texts[at][:40]) for at in bad[:3])
    few = wrong <= FEW * rows and (type_ == "date" or len(texts) - len(bad) > FEW_CODES)
    if few or (no_value and wrong <= MOST * rows):
        of = f"{wrong:,} of {rows:,} values are no {kinds} and count as missing: {shown} (types={{…: 'category'}} keeps them)"
        return _Found(type_, values, why, (*doubts, of)), ()
    if rows - wrong >= MOST * rows:
        good = f"is taken as text: {rows - wrong:,} of {rows:,} values are {kinds}, and {texts[bad[0]][:40]!r} is not"
        return None, (*doubts, f"{good} (types={{…: {type_!r}}} makes the others missing)")
    return None, doubts


def _as_said(texts: Sequence[str], counts: NDArray[np.int64], options: ReadOptions, said: ReadType) -> _Found:
    """Read the texts as a type that the owner has said; what does not fit is missing."""
    type_ = as_type(said) or "number"
    if said == "date":
        values = date_texts.read(texts, options).seconds
        if np.isnan(values).all():
            values = date_texts.epoch(number_texts.read(texts, options).values)[0]
    elif said == "boolean":
        logical = _booleans(texts)
        values = logical if logical is not None else np.full(len(texts), math.nan)
    else:
        values = number_texts.read(texts, options).values
    bad = np.flatnonzero(np.isnan(values))
    if len(bad) == len(texts):
        raise BadTrainingData(f"none of its values is a {said}, as {texts[0][:40]!r} shows")
    lost = (
        f"{int(counts[bad].sum()):,} values are no {said} and count as missing, such as {texts[bad[0]][:40]!r}"
        if len(bad)
        else ""
    )
    return _Found(type_, values, "as was said", (lost,) if lost else ())


def _exact_reason(texts: Sequence[str]) -> str:
    """Return why texts that look like numbers are none."""
    zero = next((text for text in texts if re.match(LEADING_ZERO, text.strip())), None)
    if zero is not None:
        return f"is taken as text: {zero[:40]!r} begins with 0, as codes do (types={{…: 'number'}} reads numbers)"
    long = next((text for text in texts if re.match(MANY_DIGITS, text.strip()) and abs(int(text)) > MAX_EXACT), None)
    if long is not None:
        return f"is taken as text, to keep it exact: {long[:40]!r} has more digits than a number keeps"
    return ""


def _booleans(texts: Sequence[str]) -> NDArray[np.float64] | None:
    known = {"true": 1.0, "false": 0.0}
    found = np.array([known.get(text.strip().lower(), math.nan) for text in texts])
    return None if np.isnan(found).all() else found


def _number_type(texts: Sequence[str], values: NDArray[np.float64]) -> FeatureType:
    whole = all(_WHOLE.fullmatch(text) for text, value in zip(texts, values, strict=True) if not math.isnan(value))
    return "integer" if whole else "number"


def _said_doubt(counts: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[str, ...]:
    """Return the doubt about texts of Parquet or NDJSON of which most are numbers."""
    good, rows = int(counts[~np.isnan(numbers)].sum()), int(counts.sum())
    if good < 0.8 * rows:
        return ()
    return (f"is taken as text, as it came: {good:,} of {rows:,} values are numbers (types={{…: 'number'}} reads them)",)


def epoch_doubt(known: "pd.Series[Any]") -> tuple[str, ...]:
    """Return the doubt about integers that are moments of this century, counted since 1970."""
    for unit, size in (("seconds", 1.0), ("milliseconds", 1e3)):
        if len(known) and known.min() >= 1e9 * size and known.max() < 2.3e9 * size and bool((known % 1 == 0).all()):
            return (f"may be moments, in {unit} since 1970: it is taken as a number (types={{…: 'date'}} reads dates)",)
    return ()


def texts_of(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if isinstance(column.dtype, pd.StringDtype):
        return pd.Series(pa.array(column, pa.string(), from_pandas=True).to_pylist(), dtype=object, index=column.index)
    missing = column.isna()
    values = [None if gone else text_of(value) for value, gone in zip(column, missing, strict=True)]
    return pd.Series(values, dtype=object, index=column.index)


def text_of(value: Any) -> str:
    """Convert a value to text; 5.0 becomes 5, because a column of integers with missing values may be one of floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def kept_texts(name: str, raw: "pd.Series[Any]", why: str, doubts: tuple[str, ...], said: ReadType | None = None) -> Understood:
    values = texts_of(raw)
    present = values.dropna()
    distinct = present.unique()
    lengths = np.array([len(text) for text in distinct], dtype=np.int64)
    if len(lengths) and lengths.max() > MAX_CELL_TEXT:
        raise BadTrainingData(f"a cell of column {name!r} is longer than {MAX_CELL_TEXT:,} characters")
    if len(lengths) and lengths[pd.factorize(present)[0]].sum() > MAX_COLUMN_TEXT:
        raise BadTrainingData(f"column {name!r} holds more than {MAX_COLUMN_TEXT:,} characters: too much")
    if said == "text":
        return Understood(values, "text", why)
    if len({text.strip() for text in distinct}) < len(distinct):
        doubts = (*doubts, "has texts that differ in spaces alone, which count as different")
    return Understood(values, "category", why, doubts)


def refuse_too_large(name: str, longest: int, texts: Sequence[str]) -> None:
    """Raise BadTrainingData for integers of more digits than any id has."""
    if longest > MAX_DIGITS and any(len(text) > MAX_DIGITS and _WHOLE.fullmatch(text) for text in texts):
        raise BadTrainingData(f"column {name!r} holds numbers that are too large, of more than {MAX_DIGITS} digits")


def refuse_infinite(name: str, values: Any) -> None:
    if np.isinf(values).any():
        raise BadTrainingData(f"column {name!r} holds infinite values")


def as_type(said: ReadType | None) -> FeatureType | None:
    return None if said is None or said == "ignore" else said
