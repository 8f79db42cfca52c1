"""Warns of features that give the target away: duplicates of it, and those that alone predict it almost perfectly."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from modeler.dataset import Dataset

MAX_ROWS = 2000  # for training and for testing, drawn at random
MAX_FEATURES = 200  # the first ones
MIN_TEST_ROWS = 20
ALMOST = 0.99  # share of rows, or of the variance, that is predicted
MOSTLY_ANYWAY = 0.95  # share of rows of the most frequent class, from which on a perfect prediction says little
MAX_DEPTH = 6
IDS = re.compile(r"(^|[_\W])([iI][dD]|uuid|UUID|guid|GUID|index)$|(?<=[a-z])I[dD]$", re.ASCII)
SEED = 0


def leaks(dataset: Dataset) -> Iterator[str]:
    """Yield a warning for each feature that is an id, a duplicate of the target, or predicts it almost perfectly."""
    target = dataset.schema.target
    for place, feature in enumerate(dataset.schema.features[:MAX_FEATURES]):
        if feature.type == "text":
            continue
        column = dataset.features[:, place].astype(np.float64)
        if _is_an_id(feature.name, column):
            yield f"{feature.name!r} is an id, different in each row: all that a model can learn from it is chance; leave it out"
        elif _same(column, dataset.target):
            yield f"{feature.name!r} is a duplicate of {target!r}: leave it out, unless it is known when a prediction is made"
        elif _predicts(dataset, column):
            yield f"{feature.name!r} alone predicts {target!r} almost perfectly: is it known when a prediction is made?"


def _is_an_id(name: str, column: NDArray[np.float64]) -> bool:
    return bool(IDS.search(name)) and not np.isnan(column).any() and len(np.unique(column)) == len(column)


def _same(column: NDArray[np.float64], target: NDArray[Any]) -> bool:
    """Whether each value of the column goes with one of the target and the other way round (numbers: on one line)."""
    if np.isnan(column).any():
        return False
    if target.dtype.kind == "f":
        return bool(np.ptp(column) > 0 and np.ptp(target) > 0 and abs(np.corrcoef(column, target)[0, 1]) > 1 - 1e-9)
    pairs = len(pd.DataFrame({"column": column, "target": target}).drop_duplicates())
    return pairs == len(np.unique(column)) == len(np.unique(target))


def _predicts(dataset: Dataset, column: NDArray[np.float64]) -> bool:
    """Whether a small tree on the column alone predicts the test rows almost perfectly."""
    learn, test = (_some(np.flatnonzero(which)) for which in (~dataset.in_test, dataset.in_test))
    if len(test) < MIN_TEST_ROWS:
        return False
    of_classes = dataset.schema.task == "classification"
    tree = DecisionTreeClassifier if of_classes else DecisionTreeRegressor
    fitted = tree(max_depth=MAX_DEPTH, min_samples_leaf=3, random_state=SEED).fit(column[learn, None], dataset.target[learn])
    score = fitted.score(column[test, None], dataset.target[test])
    dummy = (DummyClassifier() if of_classes else DummyRegressor()).fit(column[learn, None], dataset.target[learn])
    return bool(score >= ALMOST and dummy.score(column[test, None], dataset.target[test]) < MOSTLY_ANYWAY)


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows if len(rows) <= MAX_ROWS else np.random.default_rng(SEED).choice(rows, MAX_ROWS, replace=False)
