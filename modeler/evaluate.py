"""Evaluates models on rows that they were not trained on: scikit-learn's metrics, and an interval of the one that decides."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from modeler import intervals
from modeler.measures import DEFAULT_PARAMS, MAX_IN_MATRIX, Evaluation, by_class, classes_of, measure
from modeler.predictor import Predictor
from models.card import Metrics
from models.options import CLASSIFICATION_METRICS, REGRESSION_METRICS, Metric, MetricParams

DEFAULT_CONFIDENCE = 0.95


def evaluate(
    predictor: Predictor,
    features: NDArray[np.float64],
    truth: NDArray[Any],
    weights: NDArray[np.float64] | None = None,
    clusters: NDArray[np.uint64] | None = None,
    params: MetricParams = DEFAULT_PARAMS,
) -> Evaluation:
    """Predict the rows; the other arguments are those of Evaluation. Raises whatever the model raises."""
    labels = predictor.labels(features)
    table, classes = predictor.table(features), predictor.classes
    return Evaluation(predictor.schema.task, truth, labels, table, classes, weights, clusters, params)


def metrics(evaluation: Evaluation, metric: Metric, confidence: float = DEFAULT_CONFIDENCE) -> Metrics:
    """Compute all metrics of the task, and the interval of ``metric``."""
    names = CLASSIFICATION_METRICS if evaluation.task == "classification" else REGRESSION_METRICS
    values: dict[str, Any] = {name: measure(name, evaluation) for name in names}
    params = evaluation.params
    if evaluation.task == "regression":
        values["quantile"] = params.quantile
    else:
        values |= {"beta": params.beta, "top_k": params.top_k if values["top_k_accuracy"] is not None else None}
        values |= _of_classes(evaluation)
    return Metrics(rows=len(evaluation.truth), interval=intervals.interval(metric, evaluation, confidence), **values)


def subset(evaluation: Evaluation, rows: NDArray[np.bool_]) -> Evaluation:
    """Return the evaluation of these rows only."""
    return evaluation.take(np.flatnonzero(rows))


def _of_classes(evaluation: Evaluation) -> dict[str, Any]:
    classes = classes_of(evaluation)
    if len(classes) > MAX_IN_MATRIX:
        return {}
    matrix = sk.confusion_matrix(evaluation.truth, evaluation.labels, labels=classes)
    return {"confusion_matrix": matrix.tolist(), "classes": by_class(evaluation)}
