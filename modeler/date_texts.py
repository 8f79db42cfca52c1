"""Dates in texts: ISO 8601 and its common variants, day.month.year, and others where the column itself decides the order."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.reading import ReadOptions

EPOCH, SECOND = pd.Timestamp(0, tz="UTC").as_unit("us"), pd.Timedelta(seconds=1).as_unit("us")  # quotients of these are exact
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?")
_ZONE = re.compile(r"\s?(?:Z|UTC|GMT|([+-]\d\d)(?::?(\d\d))?)$")
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)", re.DOTALL)
_DAY_MONTH = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d\d)(?:[ T,]+(\d{1,2}:\d\d(?::\d\d)?)\s?([AaPp]\.?[Mm]\.?)?)?")
_WORDS = re.compile(r"[A-Za-z0-9 ,.:-]*[A-Za-z]{3}[A-Za-z0-9 ,.:-]*")
WITH_WORDS = (
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%a, %d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
)
FIRST_YEAR, LAST_YEAR = 2, 8999  # years beyond, as in 9999-12-31, stand for "never"
EPOCH = pd.Timestamp(0, tz="UTC").as_unit("us")
SECOND = pd.Timedelta(seconds=1).as_unit("us")
UNITS = (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17), ("ns", 1e17, 1e20))  # of moments since 1970, by their size


class Dates(NamedTuple):
    """``seconds``: (texts,) since 1970 in UTC, NaN for what is no date. ``note``: how they were written. ``doubt``: why they are
    not read, or what else they may mean."""

    seconds: NDArray[np.float64]
    note: str = ""
    doubt: str = ""


def read(texts: Sequence[str], options: ReadOptions) -> Dates:
    """Read distinct texts as dates."""
    stripped = [text.strip() for text in texts]
    if options.date_format:
        return Dates(_fill(_iso(stripped), _parsed(stripped, options.date_format)), f"by {options.date_format}")
    iso = _iso(stripped).copy()
    rest = [at for at in np.flatnonzero(np.isnan(iso)) if _DAY_MONTH.fullmatch(stripped[at])]
    others = _of_days_and_months([stripped[at] for at in rest], options) if rest else None
    if others:
        iso[rest] = others.seconds
    elif np.isnan(iso).any() and any(map(_WORDS.fullmatch, stripped)):
        iso = _with_words(stripped, iso)
    return Dates(iso, others.note if others else "", others.doubt if others else "")


def epoch(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return moments since 1970 as seconds, and the unit that their size shows; empty if it shows none."""
    size = float(np.nanmedian(np.abs(values))) if not np.isnan(values).all() else 0.0
    for place, (unit, low, high) in enumerate(UNITS):
        if low <= size < high:
            return values / 1000.0**place, unit
    return values, ""


def _iso(texts: Sequence[str]) -> NDArray[np.float64]:
    written = [_normal(text) for text in texts]
    return _in_range(pd.to_datetime(pd.Series(written, dtype=object), utc=True, format="ISO8601", errors="coerce"))


def _normal(text: str) -> str | None:
    """Return the text in ISO 8601, or None."""
    slashed = _SLASHED.fullmatch(text)
    if slashed:
        text = f"{slashed[1]}-{int(slashed[2]):02}-{int(slashed[3]):02}{slashed[4]}"
    zone = _ZONE.search(text[10:]) if len(text) > 10 else None
    bare = text[: 10 + zone.start()] if zone else text
    if not _ISO.fullmatch(bare):
        return None
    return bare + (f"{zone[1]}:{zone[2] or '00'}" if zone[1] else "Z") if zone else bare


def _of_days_and_months(texts: Sequence[str], options: ReadOptions) -> Dates:
    found = [_DAY_MONTH.fullmatch(text) for text in texts]
    parts = [match.groups() for match in found if match]
    dotted = all(mark == "." for _, mark, *_ in parts)
    first, second = max(int(part[0]) for part in parts), max(int(part[2]) for part in parts)
    nothing = np.full(len(texts), np.nan)
    if options.dayfirst is not None:
        dayfirst, note = options.dayfirst, ""
    elif first > 12 and second > 12:
        return Dates(nothing, "", f"{texts[0]!r} and the like are dates of both orders: day and month are not clear")
    elif dotted or first > 12:
        dayfirst, note = True, "the day comes before the month"
    elif second > 12:
        dayfirst, note = False, "the month comes before the day"
    else:
        say = "say dayfirst=true or dayfirst=false, or they are texts"
        return Dates(nothing, "", f"{texts[0]!r} and the like are dates whose day and month are not clear: {say}")
    short = any(len(part[3]) == 2 for part in parts)
    doubt = "years have two digits: 69 to 99 are taken for 1969 to 1999" if short else ""
    return Dates(_fill(nothing, _assembled(parts, dayfirst)), note, doubt)


def _assembled(parts: Sequence[tuple[str | Any, ...]], dayfirst: bool) -> NDArray[np.float64]:
    texts = []
    for first, _, second, year, clock, half in parts:
        day, month = (first, second) if dayfirst else (second, first)
        full = year if len(year) == 4 else f"{'19' if int(year) >= 69 else '20'}{year}"
        texts.append(f"{full}-{int(month):02}-{int(day):02}{_clock(clock, half)}")
    return _in_range(pd.to_datetime(pd.Series(texts, dtype=object), utc=True, format="ISO8601", errors="coerce"))


def _clock(clock: str | None, half: str | None) -> str:
    if not clock:
        return ""
    hour, _, rest = clock.partition(":")
    number = int(hour)
    if half:
        number = number % 12 + (12 if half[0] in "Pp" else 0)
    return f"T{number:02}:{rest}"


def _with_words(texts: Sequence[str], known: NDArray[np.float64]) -> NDArray[np.float64]:
    bare = [text.removesuffix(" GMT").removesuffix(" UTC") for text in texts]
    for format_ in WITH_WORDS:
        known = _fill(known, _parsed(bare, format_))
    return known


def _parsed(texts: Sequence[str], format_: str) -> NDArray[np.float64]:
    try:
        return _in_range(pd.to_datetime(pd.Series(list(texts), dtype=object), utc=True, format=format_, errors="coerce"))
    except (ValueError, re.error):
        return np.full(len(texts), np.nan)


def _fill(known: NDArray[np.float64], more: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(known), more, known)


def _in_range(moments: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return seconds since 1970; NaN for what is no date, or in a year that stands for none."""
    kept = moments.where(moments.dt.year.between(FIRST_YEAR, LAST_YEAR))
    return seconds(kept)


def seconds(moments: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return seconds since 1970, (moments,), in UTC where they have no zone."""
    zoned = moments.dt.tz_localize("UTC") if moments.dt.tz is None else moments.dt.tz_convert("UTC")
    since: NDArray[np.float64] = ((zoned.dt.as_unit("us") - EPOCH) / SECOND).to_numpy(dtype=np.float64)
    return since  # in microseconds the quotient is exact to the last bit
