"""The gate decides which version serves, and why. A challenger must beat the champion on the same test rows, the first version
must beat the baseline; a tie keeps the champion."""

from dataclasses import dataclass

from msgspec import Struct

from models.card import Interval, Metrics
from models.options import LOWER_IS_BETTER, Metric, TrainOptions
from models.schema import Task

CANNOT_BE_COMPARED = (
    "cannot be judged on these rows (it takes other features, predicts something else, fails on them, or was imported); "
    "promote=always, or PUT aliases/champion, replaces it all the same"
)
ROUNDING = 1e-12  # relative; less is a tie
DEFAULT_METRIC: dict[Task, Metric] = {"classification": "accuracy", "regression": "rmse"}


class Improvement(Struct, frozen=True):
    """Of the challenger on the champion (or, the first, on the baseline); above 0 is better, whatever the metric. ``low`` and
    ``high`` bound it at this confidence, by bootstrap; null if that cannot be computed."""

    metric: Metric
    value: float
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The challenger's metrics (``ours``) against those of the champion or the baseline (``theirs``), on the same test rows.

    ``version`` is the champion's; None for the baseline. ``ours`` and ``theirs`` are None if the models cannot be compared on
    these rows. ``interval``: of the improvement on all rows. ``on_known``: of the improvement on the rows of the champion's own
    data set, if there are others too."""

    version: int | None
    ours: Metrics | None
    theirs: Metrics | None
    interval: Interval | None
    on_known: Interval | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    promoted: bool
    reason: str
    improvement: Improvement | None = None


def decide(options: TrainOptions, metric: Metric, comparison: Comparison) -> Verdict:
    improvement = _improvement(metric, comparison)
    if options.promote == "if_better":
        return _if_better(options, metric, comparison, improvement)
    return Verdict(options.promote == "always", f"promote={options.promote}", improvement)


def _if_better(options: TrainOptions, metric: Metric, comparison: Comparison, improvement: Improvement | None) -> Verdict:
    if comparison.theirs is None or comparison.ours is None:
        return Verdict(False, f"version {comparison.version} {CANNOT_BE_COMPARED}")
    if improvement is None:
        return Verdict(False, f"{metric} cannot be computed for both")
    opponent = f"version {comparison.version}" if comparison.version else "the baseline that ignores the features"
    ours, theirs = comparison.ours.value(metric), comparison.theirs.value(metric)
    summary = f"{metric} {ours:.4f} against {theirs:.4f} of {opponent} on the same {comparison.ours.rows} test rows"
    objection = _objection(options, comparison, improvement)
    return Verdict(not objection, summary + objection, improvement)


def _objection(options: TrainOptions, comparison: Comparison, improvement: Improvement) -> str:
    """Return why the challenger must not be promoted; empty if it may be."""
    better = improvement.value > 0
    if not better and not comparison.version:
        return "; the first version must beat the baseline"
    if not better:
        return "; a tie keeps the champion" if improvement.value == 0 else "; it is worse"
    if comparison.on_known and comparison.on_known.high < 0:
        return f"; but on the rows of version {comparison.version}'s own data set it is clearly worse"
    return _insufficient(options, improvement)


def _insufficient(options: TrainOptions, improvement: Improvement) -> str:
    minimum, at_confidence = options.min_improvement, f"at confidence {options.confidence:g} the improvement"
    if improvement.value <= minimum:
        return f"; better by {improvement.value:.4f}, and it takes more than {minimum:g}"
    if options.confidence and improvement.low is None:
        return f"; {at_confidence} cannot be bounded"
    if options.confidence and improvement.low is not None and improvement.low <= minimum:
        return f"; {at_confidence} may be as low as {improvement.low:.4f}, and it takes more than {minimum:g}"
    return ""


def _improvement(metric: Metric, comparison: Comparison) -> Improvement | None:
    ours = comparison.ours.value(metric) if comparison.ours else None
    theirs = comparison.theirs.value(metric) if comparison.theirs else None
    if ours is None or theirs is None or comparison.interval is None:
        return None if ours is None or theirs is None else Improvement(metric, _better_by(metric, ours, theirs), None, None, 0.0)
    interval = comparison.interval
    return Improvement(metric, _better_by(metric, ours, theirs), interval.low, interval.high, interval.confidence)


def _better_by(metric: Metric, ours: float, theirs: float) -> float:
    by = theirs - ours if metric in LOWER_IS_BETTER else ours - theirs
    return 0.0 if abs(by) <= ROUNDING * max(abs(ours), abs(theirs)) else by
