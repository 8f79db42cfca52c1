"""Evaluates models on rows that they were not trained on: scikit-learn's metrics, and bootstrap intervals.

The intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13), by SciPy.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn import metrics as sk

from modeler.predictor import Predictor
from models.card import Interval, Metrics
from models.options import CLASSIFICATION_METRICS, LOWER_IS_BETTER, REGRESSION_METRICS, Metric
from models.schema import Task

RESAMPLES = 400  # of a metric that is a mean over rows …
FEWER_RESAMPLES = 150  # … and of any other, which takes scikit-learn a millisecond each time
BATCH = 4_000_000  # rows resampled at once
SEED = 0
DEFAULT_CONFIDENCE = 0.95
MAX_IN_MATRIX = 50  # classes


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's predictions for test rows. ``truth`` and ``labels`` (predicted) are (rows,); ``table`` is (rows, classes) of
    probabilities, or None; ``classes`` are those of its columns."""

    task: Task
    truth: NDArray[Any]
    labels: NDArray[Any]
    table: NDArray[np.float64] | None
    classes: list[Any]


def evaluate(predictor: Predictor, features: NDArray[np.float64], truth: NDArray[Any]) -> Evaluation:
    """Predict the rows. Raises whatever the model raises."""
    labels = predictor.labels(features)
    return Evaluation(predictor.schema.task, truth, labels, predictor.table(features), predictor.classes)


def metrics(evaluation: Evaluation, metric: Metric, confidence: float = DEFAULT_CONFIDENCE) -> Metrics:
    """Compute all metrics of the task, and the interval of ``metric``."""
    interval = _interval(metric, [evaluation], confidence)
    names = CLASSIFICATION_METRICS if evaluation.task == "classification" else REGRESSION_METRICS
    values: dict[str, Any] = {name: measure(name, evaluation) for name in names}
    if evaluation.task == "classification" and len(classes_of(evaluation)) <= MAX_IN_MATRIX:
        matrix = sk.confusion_matrix(evaluation.truth, evaluation.labels, labels=classes_of(evaluation))
        values["confusion_matrix"] = matrix.tolist()
    return Metrics(rows=len(evaluation.truth), interval=interval, **values)


def improvement(metric: Metric, ours: Evaluation, theirs: Evaluation, confidence: float) -> Interval | None:
    """Return the interval of the improvement of ours on theirs, on the same rows; above 0 is better, whatever the metric."""
    return _interval(metric, [ours, theirs], confidence)


def subset(evaluation: Evaluation, rows: NDArray[np.bool_]) -> Evaluation:
    """Return the evaluation of these rows only."""
    return _take(evaluation, np.flatnonzero(rows))


def measure(metric: str, evaluation: Evaluation) -> float | None:
    """Compute a metric; None if that is impossible: no probabilities, or a class without rows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about classes that are never predicted in a small resample
            value = _MEASURES[metric](evaluation)
    except ValueError:
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def classes_of(evaluation: Evaluation) -> list[Any]:
    """Return all true, predicted and known classes, sorted."""
    classes = np.array(evaluation.classes, evaluation.truth.dtype)
    found: list[Any] = np.unique(np.concatenate([evaluation.truth, evaluation.labels, classes])).tolist()
    return found


def _log_loss(evaluation: Evaluation) -> float | None:
    if evaluation.table is None:
        return None
    return float(sk.log_loss(evaluation.truth, evaluation.table, labels=evaluation.classes))


def _roc_auc(evaluation: Evaluation) -> float | None:
    if evaluation.table is None:
        return None
    if len(evaluation.classes) == 2:
        return float(sk.roc_auc_score(evaluation.truth == evaluation.classes[1], evaluation.table[:, 1]))
    return float(sk.roc_auc_score(evaluation.truth, evaluation.table, labels=evaluation.classes, multi_class="ovr"))


_MEASURES: dict[str, Callable[[Evaluation], float | None]] = {
    "accuracy": lambda e: sk.accuracy_score(e.truth, e.labels),
    "balanced_accuracy": lambda e: sk.balanced_accuracy_score(e.truth, e.labels),
    "f1_macro": lambda e: sk.f1_score(e.truth, e.labels, average="macro", zero_division=0),
    "log_loss": _log_loss,
    "roc_auc": _roc_auc,
    "mae": lambda e: sk.mean_absolute_error(e.truth, e.labels),
    "rmse": lambda e: sk.root_mean_squared_error(e.truth, e.labels),
    "r2": lambda e: sk.r2_score(e.truth, e.labels) if len(e.truth) > 1 else None,
}


def _take(evaluation: Evaluation, rows: NDArray[np.int64]) -> Evaluation:
    table = None if evaluation.table is None else evaluation.table[rows]
    return Evaluation(evaluation.task, evaluation.truth[rows], evaluation.labels[rows], table, evaluation.classes)


def _interval(metric: Metric, evaluations: list[Evaluation], confidence: float) -> Interval | None:
    """Return the interval of the metric of one evaluation, or of the improvement of the first on the second. None if there are
    too few rows, or if the metric cannot be computed for a resample."""
    rows = len(evaluations[0].truth)
    if rows < 2 or any(measure(metric, each) is None for each in evaluations):
        return None
    per_row = [_per_row(metric, each) for each in evaluations]
    if all(each is not None for each in per_row):
        result = _bootstrap(
            per_row, lambda *samples, axis: _improved(metric, [_mean(metric, s, axis) for s in samples]), RESAMPLES, confidence
        )
    else:
        result = _bootstrap(
            [np.arange(rows)], lambda sample: _resampled(metric, evaluations, sample), FEWER_RESAMPLES, confidence
        )
    low, high = (float(bound) for bound in result.confidence_interval)
    return Interval(metric, low, high, confidence) if math.isfinite(low) and math.isfinite(high) else None


def _bootstrap(samples: list[Any], statistic: Callable[..., Any], resamples: int, confidence: float) -> Any:
    return bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        n_resamples=resamples,
        batch=max(1, BATCH // len(samples[0])),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )


def _resampled(metric: Metric, evaluations: list[Evaluation], sample: NDArray[np.int64]) -> float:
    values = [measure(metric, _take(each, sample)) for each in evaluations]
    return math.nan if None in values else float(_improved(metric, values))


def _improved(metric: Metric, values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    return values[1] - values[0] if metric in LOWER_IS_BETTER else values[0] - values[1]


def _per_row(metric: Metric, evaluation: Evaluation) -> NDArray[np.float64] | None:
    """Return each row's contribution to a metric that is a mean over rows, which is resampled a hundred times faster."""
    if metric == "accuracy":
        return np.asarray(evaluation.truth == evaluation.labels, dtype=np.float64)
    if metric in ("mae", "rmse"):
        return np.asarray(np.abs(evaluation.truth - evaluation.labels), dtype=np.float64) ** (2 if metric == "rmse" else 1)
    return None


def _mean(metric: Metric, sample: NDArray[np.float64], axis: int) -> Any:
    mean = sample.mean(axis=axis)
    return np.sqrt(mean) if metric == "rmse" else mean
