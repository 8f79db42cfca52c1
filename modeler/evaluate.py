"""How well a model does on rows that it was not trained on: scikit-learn's metrics, and bootstrap intervals.

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

RESAMPLES = 400  # of what is a mean over rows …
FEWER = 150  # … and of what is not, and takes scikit-learn a millisecond each time
BATCH = 4_000_000  # rows resampled at once
SEED = 0
USUAL_CONFIDENCE = 0.95
MAX_IN_MATRIX = 50  # classes


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model said of test rows. ``truth`` and ``labels`` are (rows,); ``table`` is (rows, classes) of probabilities, or
    None; ``classes`` are those of its columns."""

    task: Task
    truth: NDArray[Any]
    labels: NDArray[Any]
    table: NDArray[np.float64] | None
    classes: list[Any]


def ask(predictor: Predictor, features: NDArray[np.float64], truth: NDArray[Any]) -> Evaluation:
    """Raises whatever the model raises."""
    labels = predictor.labels(features)
    return Evaluation(predictor.schema.task, truth, labels, predictor.table(features), predictor.classes)


def metrics(judged: Evaluation, metric: Metric, confidence: float = USUAL_CONFIDENCE) -> Metrics:
    """All metrics of the task, with the interval of one."""
    interval = _interval(metric, [judged], confidence)
    names = CLASSIFICATION_METRICS if judged.task == "classification" else REGRESSION_METRICS
    values: dict[str, Any] = {name: measure(name, judged) for name in names}
    if judged.task == "classification" and len(classes_of(judged)) <= MAX_IN_MATRIX:
        values["confusion_matrix"] = sk.confusion_matrix(judged.truth, judged.labels, labels=classes_of(judged)).tolist()
    return Metrics(rows=len(judged.truth), interval=interval, **values)


def improvement(metric: Metric, ours: Evaluation, theirs: Evaluation, confidence: float) -> Interval | None:
    """Of the improvement of ours on theirs, both asked about the same rows; above 0 is better whatever the metric."""
    return _interval(metric, [ours, theirs], confidence)


def among(judged: Evaluation, rows: NDArray[np.bool_]) -> Evaluation:
    """Of these rows alone."""
    return _of(judged, np.flatnonzero(rows))


def measure(metric: str, judged: Evaluation) -> float | None:
    """None if it cannot be told: no probabilities, or a class that is not there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class that nobody predicted, in a small resample
            value = _MEASURES[metric](judged)
    except ValueError:
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def classes_of(judged: Evaluation) -> list[Any]:
    """All that are there or were predicted, in order."""
    classes = np.array(judged.classes, judged.truth.dtype)
    found: list[Any] = np.unique(np.concatenate([judged.truth, judged.labels, classes])).tolist()
    return found


def _log_loss(judged: Evaluation) -> float | None:
    if judged.table is None:
        return None
    return float(sk.log_loss(judged.truth, judged.table, labels=judged.classes))


def _roc_auc(judged: Evaluation) -> float | None:
    if judged.table is None:
        return None
    if len(judged.classes) == 2:
        return float(sk.roc_auc_score(judged.truth == judged.classes[1], judged.table[:, 1]))
    return float(sk.roc_auc_score(judged.truth, judged.table, labels=judged.classes, multi_class="ovr"))


_MEASURES: dict[str, Callable[[Evaluation], float | None]] = {
    "accuracy": lambda j: sk.accuracy_score(j.truth, j.labels),
    "balanced_accuracy": lambda j: sk.balanced_accuracy_score(j.truth, j.labels),
    "f1_macro": lambda j: sk.f1_score(j.truth, j.labels, average="macro", zero_division=0),
    "log_loss": _log_loss,
    "roc_auc": _roc_auc,
    "mae": lambda j: sk.mean_absolute_error(j.truth, j.labels),
    "rmse": lambda j: sk.root_mean_squared_error(j.truth, j.labels),
    "r2": lambda j: sk.r2_score(j.truth, j.labels) if len(j.truth) > 1 else None,
}


def _of(judged: Evaluation, rows: NDArray[np.int64]) -> Evaluation:
    table = None if judged.table is None else judged.table[rows]
    return Evaluation(judged.task, judged.truth[rows], judged.labels[rows], table, judged.classes)


def _interval(metric: Metric, judged: list[Evaluation], confidence: float) -> Interval | None:
    """Of the metric of one, or of the improvement of the first on the second. None where it cannot be told of some resample, or
    of so few rows."""
    rows = len(judged[0].truth)
    if rows < 2 or any(measure(metric, each) is None for each in judged):
        return None
    per_row = [_per_row(metric, each) for each in judged]
    if all(each is not None for each in per_row):
        told = _bootstrap(
            per_row, lambda *samples, axis: _improved(metric, [_mean(metric, s, axis) for s in samples]), RESAMPLES, confidence
        )
    else:
        told = _bootstrap([np.arange(rows)], lambda sample: _resampled(metric, judged, sample), FEWER, confidence)
    low, high = (float(bound) for bound in told.confidence_interval)
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


def _resampled(metric: Metric, judged: list[Evaluation], sample: NDArray[np.int64]) -> float:
    values = [measure(metric, _of(each, sample)) for each in judged]
    return math.nan if None in values else float(_improved(metric, values))


def _improved(metric: Metric, values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    return values[1] - values[0] if metric in LOWER_IS_BETTER else values[0] - values[1]


def _per_row(metric: Metric, judged: Evaluation) -> NDArray[np.float64] | None:
    """Of a metric that is a mean over rows, what each contributes: resampling those is a hundred times faster."""
    if metric == "accuracy":
        return np.asarray(judged.truth == judged.labels, dtype=np.float64)
    if metric in ("mae", "rmse"):
        return np.asarray(np.abs(judged.truth - judged.labels), dtype=np.float64) ** (2 if metric == "rmse" else 1)
    return None


def _mean(metric: Metric, sample: NDArray[np.float64], axis: int) -> Any:
    mean = sample.mean(axis=axis)
    return np.sqrt(mean) if metric == "rmse" else mean
