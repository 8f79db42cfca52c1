"""Numbers in texts as people write them: 1,234.56, 20,5, $12, 5 %, (300)."""

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.reading import ReadOptions

CURRENCIES = ("$", "€", "£", "¥", "₹", "USD", "EUR", "GBP", "CHF", "JPY")
SPACES = " \u00a0\u2009\u202f"  # that divide thousands
# Thousands and decimal mark, in the order in which they are tried
MARKS = (("", "."), (",", "."), (".", ","), (" ", "."), (" ", ","), ("'", "."))
MAX_DISTINCT = 100_000  # texts that are looked at one by one
_EDGES = re.compile(
    rf"^({'|'.join(map(re.escape, CURRENCIES))})?\s*(.*?)\s*({'|'.join(map(re.escape, (*CURRENCIES, '%')))})?$", re.DOTALL
)
_THREE_DECIMALS = re.compile(r"[+-]?\d{1,3}\.\d{3}")


class Numbers(NamedTuple):
    """``values``: (texts,), NaN for what is no number. ``note``: how they were written, if not plainly. ``doubt``: what else they
    may mean."""

    values: NDArray[np.float64]
    note: str = ""
    doubt: str = ""


def read(texts: Sequence[str], options: ReadOptions) -> Numbers:
    """Read distinct texts as numbers, all by the same marks and of the same unit."""
    if len(texts) > MAX_DISTINCT:
        return Numbers(np.full(len(texts), math.nan))
    parts = [_bare(text) for text in texts]
    chosen, values = _by_best_marks([part for part, _ in parts], options)
    units = {unit for (_, unit), value in zip(parts, values, strict=True) if not math.isnan(value)}
    if len(units - {""}) > 1 or ("%" in units and "" in units):
        mixed = ", ".join(sorted(unit or "none" for unit in units))
        return Numbers(np.full(len(texts), math.nan), "", f"the numbers have different units ({mixed}): write them in one")
    notes = [_note(texts, *chosen)] if chosen != MARKS[0] else []
    notes += [f"{unit} is left out" for unit in sorted(units - {""})]
    return Numbers(values, "; ".join(filter(None, notes)), _doubt(texts, [part for part, _ in parts], values, chosen, options))


def _bare(text: str) -> tuple[str, str]:
    """Return the text without its unit, and the unit; parentheses are an accountant's minus."""
    text = text.strip()
    negative = len(text) > 2 and text[0] == "(" and text[-1] == ")"
    sign, text = ("-", text[1:-1]) if negative else (text[:1], text[1:].lstrip()) if text[:1] in ("-", "+") else ("", text)
    before, bare, after = (_EDGES.match(text) or re.match("()(.*)()", "")).groups()  # type: ignore[union-attr]
    if sign and bare[:1] in ("-", "+"):
        return text, ""
    return sign + bare, after or before or ""


def _by_best_marks(texts: Sequence[str], options: ReadOptions) -> tuple[tuple[str, str], NDArray[np.float64]]:
    """Return the marks by which the most texts are numbers, and these."""
    allowed = [marks for marks in MARKS if _fits(marks, options)] or [(options.thousands or "", options.decimal or ".")]
    found = [(marks, _values(texts, *marks)) for marks in allowed]
    return max(found, key=lambda each: np.count_nonzero(~np.isnan(each[1])))


def _fits(marks: tuple[str, str], options: ReadOptions) -> bool:
    thousands, decimal = marks
    return options.decimal in (None, decimal) and (options.thousands is None or options.thousands == thousands)


def _values(texts: Sequence[str], thousands: str, decimal: str) -> NDArray[np.float64]:
    pattern, dropped = _pattern(thousands, decimal), SPACES if thousands == " " else thousands
    table = str.maketrans({**dict.fromkeys(dropped, ""), decimal: "."})
    return np.array([float(text.translate(table)) if pattern.fullmatch(text) else math.nan for text in texts], dtype=np.float64)


@cache
def _pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    mark = f"[{SPACES}]" if thousands == " " else re.escape(thousands)
    whole = rf"(?:[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|\d+)" if thousands else r"\d+"
    return re.compile(rf"[+-]?(?:{whole}(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+)(?:[eE][+-]?\d{{1,3}})?", re.ASCII)


def _note(texts: Sequence[str], thousands: str, decimal: str) -> str:
    used = [f"{decimal!r} is its decimal mark"] if any(decimal in text for text in texts) else []
    divides = any(mark in text.strip() for text in texts for mark in (SPACES if thousands == " " else thousands))
    return " and ".join([*used, *([f"{thousands!r} divides thousands"] if thousands and divides else [])])


def _doubt(
    texts: Sequence[str], bare: Sequence[str], values: NDArray[np.float64], chosen: tuple[str, str], options: ReadOptions
) -> str:
    """Return what else the texts may mean if all of them can be read otherwise."""
    if options.decimal or options.thousands:
        return ""
    if chosen == (",", "."):
        otherwise = _values(bare, ".", ",")
        if not (np.isnan(otherwise) & ~np.isnan(values)).any():
            place = next(at for at, text in enumerate(bare) if "," in text)
            return f"{texts[place]!r} is read as {values[place]:g}; if it is {otherwise[place]:g}, say decimal=','"
    elif len(bare) > 2 and all(map(_THREE_DECIMALS.fullmatch, bare)) and any(text.endswith("0") for text in bare):
        return f"{texts[0]!r} is read as {values[0]:g}; if the point divides thousands, say thousands='.'"
    return ""
