"""How much a model uses each feature: permutation importance on test rows (Breiman, Random Forests, 2001), by scikit-learn."""

import logging
import time
import warnings
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.inspection import permutation_importance

from modeler.dataset import Dataset
from modeler.measures import scorer
from models.card import Importance
from models.options import Metric, MetricParams

log = logging.getLogger("mldeploy.models")

MAX_ROWS = 500  # test rows, drawn at random
MAX_FEATURES = 100  # of a model with more, it is not computed
REPEATS = 5
MAX_SECONDS = 10.0
CONFIDENCE = 0.95
SEED = 0


def importances(estimator: Any, dataset: Dataset, metric: Metric, params: MetricParams) -> list[Importance] | None:
    """Return by how much the metric becomes worse when a feature's values are shuffled among the test rows, the most important
    feature first, with intervals over repeated shuffles. None if that would take too long, or the metric cannot be computed."""
    rows, names = np.flatnonzero(dataset.in_test), dataset.schema.names
    if len(names) > MAX_FEATURES:
        return None
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, MAX_ROWS, replace=False))
    features, truth = dataset.features[rows], dataset.target[rows]
    weights = None if dataset.weights is None else dataset.weights[rows]
    score = scorer(metric, params, dataset.schema.task)
    began = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were told when the model was evaluated
            whole = score(estimator, features, truth, weights)
            if not np.isfinite(whole) or (time.monotonic() - began) * len(names) * REPEATS > MAX_SECONDS:
                return None
            found = permutation_importance(
                estimator, features, truth, scoring=score, n_repeats=REPEATS, random_state=SEED, sample_weight=weights
            )
    except Exception:
        log.exception("the importance of features cannot be computed")
        return None
    return _sorted(names, found.importances)


def _sorted(names: list[str], drops: Any) -> list[Importance] | None:
    """``drops``: (features, repeats)."""
    if not np.isfinite(drops).all():
        return None
    half = student.ppf((1 + CONFIDENCE) / 2, REPEATS - 1) * drops.std(axis=1, ddof=1) / np.sqrt(REPEATS)
    means = drops.mean(axis=1)
    order = np.argsort(-means, kind="stable")
    return [
        Importance(names[place], float(means[place]), float(means[place] - half[place]), float(means[place] + half[place]))
        for place in order
    ]
