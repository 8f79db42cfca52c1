"""The probability from which on the second of two classes is predicted: a number, or chosen by cross-validation."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier

from modeler.cross_validation import scored
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.measures import Evaluation, at, measure
from models.input_errors import listed
from models.options import Metric, MetricParams, Threshold

BY_LABELS: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "f1_macro", "f_beta")
CANDIDATES = 101
USUAL = 0.5


def find(threshold: Threshold, estimator: Any, dataset: Dataset, metric: Metric, params: MetricParams) -> float:
    """Return the threshold as a number; ``auto``: the one with the best metric over the training rows, each predicted by a model
    that was fitted on others. Raises BadTrainingData."""
    if len(dataset.schema.classes) != 2 or not hasattr(estimator, "predict_proba"):
        raise BadTrainingData("threshold= takes two classes, and an estimator with probabilities")
    if threshold != "auto":
        return threshold
    if metric not in BY_LABELS:
        raise BadTrainingData(f"threshold=auto chooses by {listed(list(BY_LABELS))}, and {metric} does not depend on a threshold")
    try:
        whole = _joined([evaluation for evaluation, _ in scored(estimator, dataset, params)])
    except ValueError as error:
        raise BadTrainingData(f"threshold=auto finds too few rows of each class to choose by ({error}): give a number") from None
    assert whole.table is not None
    candidates = np.unique([USUAL, *np.quantile(whole.table[:, 1], np.linspace(0, 1, CANDIDATES)[1:-1])])
    inside = candidates[(candidates > 0) & (candidates < 1)]
    found: list[float] = inside.tolist()
    return max(found, key=lambda each: (measure(metric, at(whole, each)) or 0.0, -abs(each - USUAL)))


def fixed(estimator: Any, threshold: float, dataset: Dataset) -> Any:
    """Return a classifier that predicts by the fitted estimator's probabilities and this threshold."""
    learn = ~dataset.in_test
    classifier = FixedThresholdClassifier(
        FrozenEstimator(estimator),
        threshold=threshold,
        pos_label=dataset.schema.classes[1],
        response_method="predict_proba",
    )
    return classifier.fit(dataset.features[learn], dataset.target[learn])


def _joined(parts: list[Evaluation]) -> Evaluation:
    first = parts[0]
    weights = None if first.weights is None else np.concatenate([each.row_weights for each in parts])
    return replace(
        first,
        truth=np.concatenate([each.truth for each in parts]),
        labels=np.concatenate([each.labels for each in parts]),
        table=np.concatenate([each.table for each in parts if each.table is not None]),
        weights=weights,
    )
