"""Repeated cross-validation on the training rows, for trainings with few test rows.

Its interval takes into account that the folds share most of their training rows (Nadeau and Bengio, Inference for the
Generalization Error, 2003).
"""

import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, RepeatedKFold, RepeatedStratifiedKFold, TimeSeriesSplit

from modeler import estimators, evaluate, split
from modeler.dataset import Dataset
from modeler.measures import Evaluation, at, measure
from modeler.predictor import Predictor
from models.card import CrossValidation
from models.options import Metric, MetricParams

log = logging.getLogger("mldeploy.models")

FOLDS = 5
REPEATS = 3
FEW_TEST_ROWS = 30
MAX_SECONDS = 20.0  # of all fits; a longer one is not made
CONFIDENCE = 0.95
SEED = 0

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows to fit on, rows to score


def beside_few(
    estimator: Any,
    dataset: Dataset,
    metric: Metric,
    params: MetricParams,
    fit_seconds: float,
    threshold: float | None = None,
) -> CrossValidation | None:
    """Return the metric by cross-validation if there are few test rows, and time for it; None too if it cannot be computed."""
    if dataset.in_test.sum() >= FEW_TEST_ROWS or fit_seconds * FOLDS * REPEATS > MAX_SECONDS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were told when the model was fitted
            found = [
                (measure(metric, at(each, threshold)), len(rest) / len(fitted))
                for each, (fitted, rest) in scored(estimator, dataset, params)
            ]
    except Exception:  # an estimator that cannot be fitted on so few rows, or a class that is in one fold alone
        log.info("no cross-validation", exc_info=True)
        return None
    scores = np.array([score for score, _ in found if score is not None])
    if len(scores) < len(found) or len(scores) < 2:
        return None
    ratio = float(np.mean([ratio for _, ratio in found]))
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(scores) - 1)) * math.sqrt((1 / len(scores) + ratio) * scores.var(ddof=1))
    mean = float(scores.mean())
    return CrossValidation(metric, mean, mean - half, mean + half, CONFIDENCE, len(scores), int((~dataset.in_test).sum()))


def scored(estimator: Any, dataset: Dataset, params: MetricParams) -> Iterator[tuple[Evaluation, Fold]]:
    """Yield for each fold the evaluation of a clone of the estimator that was fitted on the others."""
    learn = np.flatnonzero(~dataset.in_test)
    for fitted, rest in folds(dataset, learn):
        rows = np.concatenate([fitted, rest])
        part = replace(
            dataset,
            features=dataset.features[rows],
            target=dataset.target[rows],
            weights=None if dataset.weights is None else dataset.weights[rows],
            in_test=np.arange(len(rows)) >= len(fitted),
        )
        predictor = Predictor(dataset.schema, estimators.fit(clone(estimator), part))
        features, truth = part.features[part.in_test], part.target[part.in_test]
        yield evaluate.evaluate(predictor, features, truth, part.test_weights, params=params), (fitted, rest)


def folds(dataset: Dataset, learn: NDArray[np.int64]) -> Iterator[Fold]:
    """Yield folds of these rows: groups together, the later after the earlier, or with all classes in each."""
    target = dataset.target[learn]
    if dataset.split.group:
        hashes = split.group_hashes(dataset.table, dataset.split.group)[learn]
        found = GroupKFold(min(FOLDS, len(np.unique(hashes)))).split(learn, target, hashes)
    elif dataset.split.time:
        learn = learn[np.argsort(split.times(dataset.table, dataset.split.time)[learn], kind="stable")]
        found = TimeSeriesSplit(FOLDS).split(learn)
    elif dataset.schema.task == "classification":
        found = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED).split(learn, target)
    else:
        found = RepeatedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED).split(learn)
    for fitted, rest in found:
        yield learn[fitted], learn[rest]
