"""What the columns of a table hold, found from their values, and what is doubtful about it.

Texts of a CSV may stand for anything. Texts of Parquet and NDJSON are texts, unless they are dates or the owner says otherwise.
"""

from typing import Any, NamedTuple

import pandas as pd

from modeler.text_columns import Understood, of_texts, plain_numbers
from modeler.typed_columns import of_values
from models.feature import FeatureType, date_text
from models.reading import MAX_EXAMPLES, ColumnReport, ReadOptions, ReadType

# Words of a CSV that stand for a missing value, by default: those of pandas
MISSING = frozenset(
    [
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    ]
)


class Column(NamedTuple):
    """``values``: float64, or objects: text and None (see Table)."""

    values: "pd.Series[Any]"
    type: FeatureType
    report: ColumnReport


def understand(name: str, raw: "pd.Series[Any]", is_text: bool, options: ReadOptions, said: ReadType | None) -> Column:
    """Find the type of a column, or read it as ``said``. ``is_text``: its texts may stand for numbers, as in a CSV. Raises
    BadTrainingData."""
    raw, as_missing = _without_missing_words(raw, is_text, options)
    if is_text:
        marked = options.decimal or options.thousands
        plain = plain_numbers(name, raw) if said is None and not marked else None
        found = plain or of_texts(name, raw, options, said, guess_numbers=True)
    else:
        found = of_values(name, raw, options, said)
    return Column(found.values, found.type, _report(name, found, as_missing))


def _without_missing_words(raw: "pd.Series[Any]", is_text: bool, options: ReadOptions) -> tuple["pd.Series[Any]", dict[str, int]]:
    """Return the column with None for cells that stand for nothing, and how often each word stood for it."""
    words = frozenset(options.na_values) if options.na_values else MISSING if is_text else frozenset[str]()
    if not words and not is_text:
        return raw, {}
    if not is_text and raw.dtype != object and not isinstance(raw.dtype, pd.CategoricalDtype):
        return raw, {}
    gone = raw.isin([*words, ""] if is_text else list(words))
    counts = raw[gone].value_counts() if gone.any() else pd.Series(dtype=int)
    return raw.mask(gone, None), {str(word): int(count) for word, count in counts.items() if word != ""}


def _report(name: str, found: Understood, as_missing: dict[str, int]) -> ColumnReport:
    present = found.values.dropna()
    show = _shown_date if found.type == "date" else _shown
    has_order = found.type in ("number", "integer", "date") and len(present) > 0
    bounds = [float(present.min()), float(present.max())] if has_order else [None, None]
    low, high = [show(bound) if found.type == "date" and bound is not None else bound for bound in bounds]
    return ColumnReport(
        name=name,
        type=found.type,
        why=found.why,
        missing=int(found.values.isna().sum()),
        distinct=int(present.nunique()),
        minimum=low,
        maximum=high,
        examples=tuple(show(value) for value in present.drop_duplicates().iloc[:MAX_EXAMPLES]),
        as_missing=as_missing,
        doubts=found.doubts,
    )


def _shown(value: Any) -> str:
    return str(value)[:100]


def _shown_date(value: Any) -> str:
    return date_text(float(value))
