"""Warnings about a training set that its user should know before trusting the model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from modeler.dataset import FEW_INTEGERS, Dataset
from models.input_errors import listed

MOSTLY = 0.8  # share of numbers among a column's values above which the others are likely mistakes
FEW_TEST_ROWS = 30


def data_warnings(dataset: Dataset) -> list[str]:
    """Return the warnings about the columns, the target and the test rows."""
    return [*_of_columns(dataset), *_of_the_target(dataset), *_of_the_test(dataset)]


def _of_columns(dataset: Dataset) -> Iterator[str]:
    schema, table = dataset.schema, dataset.table
    if schema.ignored:
        yield f"left out, being without values or texts that nearly all differ: {listed(list(schema.ignored))}"
    for name, type_ in table.types.items():
        if type_ == "category" and name not in (schema.target, dataset.weight):
            yield from _almost_numbers(name, table.frame[name])


def _almost_numbers(name: str, column: "pd.Series[Any]") -> Iterator[str]:
    present = column.dropna()
    texts = present[pd.to_numeric(present, errors="coerce").isna()]
    numbers = len(present) - len(texts)
    if MOSTLY * len(present) <= numbers < len(present):
        yield f"{name!r} is taken as text: {numbers} of {len(present)} values are numbers, and {texts.iloc[0][:40]!r} is not"


def _of_the_target(dataset: Dataset) -> Iterator[str]:
    different, name = len(np.unique(dataset.target)), dataset.schema.target
    if dataset.schema.task == "regression" and different <= FEW_INTEGERS:
        yield f"{name!r} is taken for a quantity, and has only {different} different values (task=classification for classes)"


def _of_the_test(dataset: Dataset) -> Iterator[str]:
    rows = int(dataset.in_test.sum())
    if rows < FEW_TEST_ROWS:
        yield f"there are only {rows} test rows: how good it is, and which version is better, is uncertain"
    if dataset.schema.task == "classification":
        untested = np.setdiff1d(dataset.target, dataset.target[dataset.in_test])
        if len(untested):
            yield f"no test row is of class {listed([str(label) for label in untested])}"
