"""Intervals of a metric, and of the improvement of one model on another on the same rows.

Shares of rows have Wilson's interval (Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927), and
differences of two shares that of Agresti and Min (Simple improved confidence intervals for comparing matched proportions, 2005):
neither is empty for a perfect score. All else is resampled, by SciPy: BCa intervals (Efron, Better Bootstrap Confidence
Intervals, 1987) where the rows are few, percentile intervals where they are many and the two agree.

Rows that are alike are no independent evidence. Clusters of them are resampled as a whole, and a share's rows count for as many
as would vary like that (Kish, Survey Sampling, 1965, on the design effect).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm
from sklearn import config_context

from modeler.measures import AT_MOST_ONE, SHARES, Evaluation, coded, measure, per_row
from models.card import Interval
from models.options import LOWER_IS_BETTER, Metric

RESAMPLES = 2000  # of a metric that is a mean over rows …
FEWER_RESAMPLES = 200  # … and of any other, which takes scikit-learn a millisecond each time
MANY = 2000  # clusters; from so many on there are fewer resamples still
FEWEST_RESAMPLES = 150
BCA_CLUSTERS = 1000  # at most; BCa leaves out each of them once …
BCA_CLUSTERS_SLOW = 100  # … for a metric that takes a millisecond
MAX_UNDEFINED = 0.05  # share of the resamples for which a metric cannot be computed, for want of a class
BATCH = 4_000_000  # rows resampled at once
SEED = 0

Bounds = tuple[float, float]


def interval(metric: Metric, evaluation: Evaluation, confidence: float) -> Interval | None:
    """Return the interval of the metric; None if it cannot be bounded: too few rows, or predictions without any error."""
    return _stated(metric, [evaluation], confidence)


def improvement(metric: Metric, ours: Evaluation, theirs: Evaluation, confidence: float) -> Interval | None:
    """Return the interval of the improvement of ours on theirs, on the same rows; above 0 is better, whatever the metric. None if
    it cannot be bounded: too few rows, or the same predictions."""
    return _stated(metric, [ours, theirs], confidence)


def improved(metric: Metric, values: Sequence[Any]) -> Any:
    """Return a metric's only value, or the improvement of the first on the second."""
    if len(values) == 1:
        return values[0]
    return values[1] - values[0] if metric in LOWER_IS_BETTER else values[0] - values[1]


def wilson(share: float, rows: float, confidence: float) -> Bounds:
    """Return Wilson's interval of a share of so many (effective) rows."""
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return (0.0 if share == 0 else max(0.0, middle - half)), (1.0 if share == 1 else min(1.0, middle + half))


def agresti_min(more: float, fewer: float, rows: float, confidence: float) -> Bounds:
    """Return the interval of the difference of two shares of the same rows. ``more`` and ``fewer``: the shares of the (effective)
    rows that count for the first alone, and for the second alone."""
    z, size = float(norm.ppf((1 + confidence) / 2)), rows + 2
    first, second = (more * rows + 0.5) / size, (fewer * rows + 0.5) / size
    half = z * math.sqrt(max(0.0, first + second - (first - second) ** 2) / size)
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def effective_rows(values: NDArray[np.float64], evaluation: Evaluation) -> float:
    """Return how many independent rows of equal weight bound the mean of these values, (rows,), as well as these rows do."""
    weights, total = evaluation.row_weights, float(evaluation.row_weights.sum())
    at_most = total**2 / float((weights**2).sum())
    if evaluation.clusters is None:
        return at_most
    mean = float((weights * values).sum()) / total
    spread = float((weights * (values - mean) ** 2).sum()) / total
    if spread == 0:
        return min(at_most, total**2 / float((_sums(evaluation, weights) ** 2).sum()))
    varies = float((_sums(evaluation, weights * (values - mean)) ** 2).sum()) / total**2
    return max(1.0, min(at_most, spread / varies)) if varies else at_most


def _stated(metric: Metric, evaluations: list[Evaluation], confidence: float) -> Interval | None:
    if len(evaluations[0].truth) < 2 or any(measure(metric, each) is None for each in evaluations):
        return None
    if not evaluations[0].row_weights.sum():
        return None
    bounds = _bounds(metric, evaluations, confidence)
    return Interval(metric, *bounds, confidence) if bounds and all(map(math.isfinite, bounds)) else None


def _bounds(metric: Metric, evaluations: list[Evaluation], confidence: float) -> Bounds | None:
    parts = [part for each in evaluations if (part := per_row(metric, each)) is not None]
    if metric in SHARES:
        return _of_shares(parts, evaluations[0], confidence)
    if len(parts) == len(evaluations):
        return _of_means(metric, parts, evaluations[0], confidence)
    return _of_resamples(metric, evaluations, confidence)


def _of_shares(parts: list[NDArray[np.float64]], evaluation: Evaluation, confidence: float) -> Bounds:
    weights = evaluation.row_weights / evaluation.row_weights.sum()
    if len(parts) == 1:
        return wilson(min(1.0, float(weights @ parts[0])), effective_rows(parts[0], evaluation), confidence)
    by = parts[0] - parts[1]
    return agresti_min(float(weights @ (by > 0)), float(weights @ (by < 0)), effective_rows(by, evaluation), confidence)


def _of_means(metric: Metric, parts: list[NDArray[np.float64]], evaluation: Evaluation, confidence: float) -> Bounds | None:
    weights = _sums(evaluation, evaluation.row_weights)
    sums = [_sums(evaluation, evaluation.row_weights * part) for part in parts]

    def statistic(*samples: NDArray[np.float64], axis: int) -> Any:
        *of_parts, of_weights = (sample.sum(axis=axis) for sample in samples)
        means = [each / of_weights for each in of_parts]
        return improved(metric, [np.sqrt(mean) for mean in means] if metric == "rmse" else means)

    many = len(weights) > MANY
    return _resampled([*sums, weights], statistic, FEWER_RESAMPLES if many else RESAMPLES, BCA_CLUSTERS, confidence)


def _of_resamples(metric: Metric, evaluations: list[Evaluation], confidence: float) -> Bounds | None:
    rows_of, value = _rows_by_cluster(evaluations[0]), improved(metric, [measure(metric, each) for each in evaluations])
    undefined, evaluations = 0, [coded(each) for each in evaluations]

    def statistic(sample: NDArray[np.int64]) -> float:
        nonlocal undefined
        rows = np.concatenate([rows_of[place] for place in sample])
        values = [measure(metric, each.take(rows)) for each in evaluations]
        if None in values:
            undefined += 1
            return float(value)
        return float(improved(metric, values))

    many = len(rows_of) > MANY
    resamples = FEWEST_RESAMPLES if many else FEWER_RESAMPLES
    with config_context(assume_finite=True, skip_parameter_validation=True):
        bounds = _resampled([np.arange(len(rows_of))], statistic, resamples, BCA_CLUSTERS_SLOW, confidence)
    if undefined > MAX_UNDEFINED * (resamples + len(rows_of)):
        return None
    if bounds is None and len(evaluations) == 1 and metric in AT_MOST_ONE and value == 1:
        return wilson(1.0, _rows_of_the_rarest(evaluations[0]), confidence)
    return bounds


def _resampled(
    samples: list[NDArray[Any]], statistic: Callable[..., Any], resamples: int, most_for_bca: int, confidence: float
) -> Bounds | None:
    """Return a bootstrap interval; None if all resamples have one value."""
    clusters = len(samples[0])
    if clusters < 2:
        return None
    options: dict[str, Any] = {"paired": len(samples) > 1, "batch": max(1, BATCH // clusters), "confidence_level": confidence}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an interval that cannot be computed, which is then NaN
        found = bootstrap(
            samples, statistic, n_resamples=resamples, method="percentile", rng=np.random.default_rng(SEED), **options
        )
        if np.ptp(found.bootstrap_distribution) == 0:
            return None
        if clusters <= most_for_bca:
            better = bootstrap(samples, statistic, n_resamples=0, bootstrap_result=found, method="BCa", **options)
            if np.isfinite(better.confidence_interval).all():
                found = better
    low, high = found.confidence_interval
    return float(low), float(high)


def _sums(evaluation: Evaluation, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the values of each cluster."""
    if evaluation.clusters is None:
        return values
    return np.bincount(_numbered(evaluation.clusters), weights=values).astype(np.float64)


def _rows_by_cluster(evaluation: Evaluation) -> list[NDArray[np.int64]]:
    rows = np.arange(len(evaluation.truth))
    if evaluation.clusters is None:
        return list(rows[:, None])
    numbers = _numbered(evaluation.clusters)
    order = np.argsort(numbers, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(numbers[order])) + 1)


def _numbered(clusters: NDArray[Any]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.unique(clusters, return_inverse=True)[1]
    return numbers


def _rows_of_the_rarest(evaluation: Evaluation) -> float:
    """Return the effective number of rows of the class that has fewest: its errors count most in a mean over classes."""
    found = [np.flatnonzero(evaluation.truth == label) for label in np.unique(evaluation.truth)]
    return min(effective_rows(np.ones(len(rows)), evaluation.take(rows)) for rows in found)
