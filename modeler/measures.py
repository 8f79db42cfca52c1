"""The metrics that models are chosen by, as scikit-learn computes them, with the rows' weights."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize

from models.card import ClassMetrics
from models.options import LOWER_IS_BETTER, Metric, MetricParams
from models.schema import Task

DEFAULT_PARAMS = MetricParams()
MAX_IN_MATRIX = 50  # classes
SHARES = ("accuracy", "top_k_accuracy")  # of the rows
AT_MOST_ONE = ("balanced_accuracy", "f1_macro", "f_beta", "roc_auc", "average_precision")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's predictions for test rows. ``truth`` and ``labels`` (predicted) are (rows,); ``table`` is (rows, classes) of
    probabilities, or None; ``classes`` are those of its columns. ``weights`` is (rows,), or None if each row counts once;
    ``clusters`` is (rows,): rows of one value are alike, and no evidence independent of each other."""

    task: Task
    truth: NDArray[Any]
    labels: NDArray[Any]
    table: NDArray[np.float64] | None
    classes: list[Any]
    weights: NDArray[np.float64] | None = None
    clusters: NDArray[np.uint64] | None = None
    params: MetricParams = DEFAULT_PARAMS

    def take(self, rows: NDArray[np.int64]) -> "Evaluation":
        """Return the evaluation of these rows, by place."""
        return replace(
            self,
            truth=self.truth[rows],
            labels=self.labels[rows],
            table=None if self.table is None else self.table[rows],
            weights=None if self.weights is None else self.weights[rows],
            clusters=None if self.clusters is None else self.clusters[rows],
        )

    @property
    def row_weights(self) -> NDArray[np.float64]:
        return np.ones(len(self.truth)) if self.weights is None else self.weights


def measure(metric: str, evaluation: Evaluation) -> float | None:
    """Compute a metric; None if that is impossible: no probabilities, or a class without rows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about classes that are never predicted in a small resample
            value = _MEASURES[metric](evaluation)
    except ValueError:
        return None
    return None if value is None or not math.isfinite(value) else float(value)


def at(evaluation: Evaluation, threshold: float | None) -> Evaluation:
    """Return the evaluation with the labels at this threshold."""
    if threshold is None:
        return evaluation
    assert evaluation.table is not None
    classes = np.array(evaluation.classes, evaluation.truth.dtype)
    return replace(evaluation, labels=classes[(evaluation.table[:, 1] >= threshold).astype(int)])


def scorer(metric: Metric, params: MetricParams, task: Task) -> Callable[..., float]:
    """Return a scorer for scikit-learn's searches and cross-validations, of which more is better: NaN if it is undefined."""

    def score(estimator: Any, features: Any, truth: Any, sample_weight: Any = None) -> float:
        table = estimator.predict_proba(features) if hasattr(estimator, "predict_proba") else None
        classes = estimator.classes_.tolist() if task == "classification" else []
        value = measure(
            metric, Evaluation(task, truth, estimator.predict(features), table, classes, sample_weight, params=params)
        )
        return math.nan if value is None else -value if metric in LOWER_IS_BETTER else value

    return score


def classes_of(evaluation: Evaluation) -> list[Any]:
    """Return all true, predicted and known classes, sorted."""
    classes = np.array(evaluation.classes, evaluation.truth.dtype)
    found: list[Any] = np.unique(np.concatenate([evaluation.truth, evaluation.labels, classes])).tolist()
    return found


def coded(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with the classes' numbers in place of the classes, which scikit-learn takes faster."""
    if evaluation.task == "regression":
        return evaluation
    classes = np.unique(
        np.concatenate([evaluation.truth, evaluation.labels, np.array(evaluation.classes, evaluation.truth.dtype)])
    )
    truth, labels = np.searchsorted(classes, evaluation.truth), np.searchsorted(classes, evaluation.labels)
    known = np.searchsorted(classes, np.array(evaluation.classes, evaluation.truth.dtype)).tolist()
    return replace(evaluation, truth=truth, labels=labels, classes=known)


def by_class(evaluation: Evaluation) -> list[ClassMetrics]:
    """Return precision and recall of each class; None where a class is never predicted, or has no row."""
    classes = classes_of(evaluation)
    precision, recall, _, _ = sk.precision_recall_fscore_support(
        evaluation.truth, evaluation.labels, labels=classes, sample_weight=evaluation.weights, zero_division=np.nan
    )
    rows = [int((evaluation.truth == label).sum()) for label in classes]
    shares = ([None if math.isnan(value) else float(value) for value in each] for each in (precision, recall))
    return [ClassMetrics(*each) for each in zip(classes, *shares, rows, strict=True)]


def per_row(metric: str, evaluation: Evaluation) -> NDArray[np.float64] | None:
    """Return each row's part of a metric that is a mean over rows (of rmse: of its square), which is resampled a hundred times
    faster; None for any other metric."""
    if metric in ("log_loss", "brier", "top_k_accuracy") and (evaluation.table is None or not _all_known(evaluation)):
        return None
    part = _PARTS.get(metric)
    return None if part is None else np.asarray(part(evaluation), dtype=np.float64)


def _all_known(evaluation: Evaluation) -> bool:
    return bool(np.isin(evaluation.truth, evaluation.classes).all())


def _place_of_truth(evaluation: Evaluation) -> NDArray[np.int64]:
    return np.searchsorted(np.asarray(evaluation.classes, dtype=evaluation.truth.dtype), evaluation.truth)


def _log_losses(evaluation: Evaluation) -> NDArray[np.float64]:
    assert evaluation.table is not None
    least = np.finfo(evaluation.table.dtype).eps
    of_truth = evaluation.table[np.arange(len(evaluation.truth)), _place_of_truth(evaluation)]
    return np.asarray(-np.log(np.clip(of_truth, least, 1 - least)))


def _briers(evaluation: Evaluation) -> NDArray[np.float64]:
    assert evaluation.table is not None
    of_truth = np.eye(len(evaluation.classes))[_place_of_truth(evaluation)]
    losses = ((evaluation.table - of_truth) ** 2).sum(axis=1)
    return np.asarray(losses / 2 if len(evaluation.classes) == 2 else losses)


def _pinballs(evaluation: Evaluation) -> NDArray[np.float64]:
    over, quantile = evaluation.truth - evaluation.labels, evaluation.params.quantile
    return np.asarray(np.maximum(quantile * over, (quantile - 1) * over))


def _relative_errors(evaluation: Evaluation) -> NDArray[np.float64]:
    errors = np.abs(evaluation.truth - evaluation.labels)
    return np.asarray(errors / np.maximum(np.abs(evaluation.truth), np.finfo(np.float64).eps))


def _hits(evaluation: Evaluation) -> NDArray[np.bool_] | None:
    """Return whether each row's class is among the k most likely; None if that is always so."""
    assert evaluation.table is not None
    if len(evaluation.classes) <= evaluation.params.top_k:
        return None
    order = np.argsort(evaluation.table, axis=1, kind="mergesort")[:, ::-1]
    places = order[:, : evaluation.params.top_k]
    return np.asarray((places == _place_of_truth(evaluation)[:, None]).any(axis=1))


_PARTS: dict[str, Callable[[Evaluation], Any]] = {
    "accuracy": lambda e: e.truth == e.labels,
    "top_k_accuracy": _hits,
    "log_loss": _log_losses,
    "brier": _briers,
    "mae": lambda e: np.abs(e.truth - e.labels),
    "rmse": lambda e: (e.truth - e.labels) ** 2,
    "mape": _relative_errors,
    "pinball": _pinballs,
}


# scikit-learn's


def _log_loss(evaluation: Evaluation) -> float | None:
    if evaluation.table is None:
        return None
    return float(sk.log_loss(evaluation.truth, evaluation.table, labels=evaluation.classes, sample_weight=evaluation.weights))


def _roc_auc(evaluation: Evaluation) -> float | None:
    weights, classes = evaluation.weights, evaluation.classes
    if evaluation.table is None:
        return None
    if len(classes) == 2:
        return float(sk.roc_auc_score(evaluation.truth == classes[1], evaluation.table[:, 1], sample_weight=weights))
    return float(sk.roc_auc_score(evaluation.truth, evaluation.table, labels=classes, multi_class="ovr", sample_weight=weights))


def _average_precision(evaluation: Evaluation) -> float | None:
    """Of the second class of two; of more classes the mean."""
    weights, classes, table = evaluation.weights, evaluation.classes, evaluation.table
    if table is None or not np.isin(classes, evaluation.truth).all():
        return None
    if len(classes) == 2:
        return float(sk.average_precision_score(evaluation.truth == classes[1], table[:, 1], sample_weight=weights))
    return float(sk.average_precision_score(label_binarize(evaluation.truth, classes=classes), table, sample_weight=weights))


def _brier(evaluation: Evaluation) -> float | None:
    weights, classes, table = evaluation.weights, evaluation.classes, evaluation.table
    if table is None:
        return None
    if len(classes) == 2:
        return float(sk.brier_score_loss(evaluation.truth == classes[1], table[:, 1], sample_weight=weights))
    return float(sk.brier_score_loss(evaluation.truth, table, labels=classes, sample_weight=weights))


def _top_k(evaluation: Evaluation) -> float | None:
    k = evaluation.params.top_k
    if evaluation.table is None or len(evaluation.classes) <= k:
        return None
    weights, classes = evaluation.weights, evaluation.classes
    table = evaluation.table[:, 1] if len(classes) == 2 else evaluation.table
    return float(sk.top_k_accuracy_score(evaluation.truth, table, k=k, labels=classes, sample_weight=weights))


def _f_beta(evaluation: Evaluation) -> float:
    """Of the second class of two; of more classes the mean."""
    classes = evaluation.classes or classes_of(evaluation)
    of: dict[str, Any] = {"labels": [classes[1]], "average": "macro"} if len(classes) == 2 else {"average": "macro"}
    return float(
        sk.fbeta_score(
            evaluation.truth,
            evaluation.labels,
            beta=evaluation.params.beta,
            sample_weight=evaluation.weights,
            zero_division=0,
            **of,
        )
    )


_MEASURES: dict[str, Callable[[Evaluation], float | None]] = {
    "accuracy": lambda e: sk.accuracy_score(e.truth, e.labels, sample_weight=e.weights),
    "balanced_accuracy": lambda e: sk.balanced_accuracy_score(e.truth, e.labels, sample_weight=e.weights),
    "f1_macro": lambda e: sk.f1_score(e.truth, e.labels, average="macro", zero_division=0, sample_weight=e.weights),
    "f_beta": _f_beta,
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "top_k_accuracy": _top_k,
    "mae": lambda e: sk.mean_absolute_error(e.truth, e.labels, sample_weight=e.weights),
    "rmse": lambda e: sk.root_mean_squared_error(e.truth, e.labels, sample_weight=e.weights),
    "r2": lambda e: sk.r2_score(e.truth, e.labels, sample_weight=e.weights) if len(e.truth) > 1 else None,
    "mape": lambda e: sk.mean_absolute_percentage_error(e.truth, e.labels, sample_weight=e.weights),
    "median_absolute_error": lambda e: sk.median_absolute_error(e.truth, e.labels, sample_weight=e.weights),
    "pinball": lambda e: sk.mean_pinball_loss(e.truth, e.labels, alpha=e.params.quantile, sample_weight=e.weights),
}
