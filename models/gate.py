"""The gate: who serves from now on, and why. A challenger must be better than the champion on the same rows, the first version
better than the baseline; a tie keeps what there is."""

from dataclasses import dataclass

from msgspec import Struct

from models.card import Interval, Metrics
from models.options import LOWER_IS_BETTER, Metric, TrainOptions
from models.schema import Task

CANNOT_BE_JUDGED = (
    "cannot be judged on these rows (it takes other features, predicts something else, fails on them, or was brought in); "
    "promote=always, or PUT aliases/champion, replaces it all the same"
)
ROUNDING = 1e-12  # relative; less is a tie
USUAL_METRIC: dict[Task, Metric] = {"classification": "accuracy", "regression": "rmse"}


class Improvement(Struct, frozen=True):
    """Of the challenger on the champion (or, the first, on the baseline); above 0 is better, whatever the metric. ``low`` and
    ``high`` bound it at this confidence, by bootstrap; null if that cannot be told."""

    metric: Metric
    value: float
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the challenger is held against: the champion (its version), or the baseline. ``ours`` and ``theirs`` are of the same
    rows; None if it cannot be asked about them. ``on_known``: the improvement on those of them that are of the champion's data
    set, where others are among them."""

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
        return Verdict(False, f"version {comparison.version} {CANNOT_BE_JUDGED}")
    if improvement is None:
        return Verdict(False, f"{metric} cannot be told of both")
    who = f"version {comparison.version}" if comparison.version else "the baseline that ignores the features"
    ours, theirs = comparison.ours.value(metric), comparison.theirs.value(metric)
    told = f"{metric} {ours:.4f} against {theirs:.4f} of {who} on the same {comparison.ours.rows} test rows"
    against = _against(options, comparison, improvement)
    return Verdict(not against, told + against, improvement)


def _against(options: TrainOptions, comparison: Comparison, improvement: Improvement) -> str:
    """What speaks against a promotion; empty if nothing does."""
    better = improvement.value > 0
    if not better and not comparison.version:
        return "; the first version must beat the baseline"
    if not better:
        return "; a tie keeps the champion" if improvement.value == 0 else "; it is worse"
    if comparison.on_known and comparison.on_known.high < 0:
        return f"; but on the rows of version {comparison.version}'s own data set it is clearly worse"
    return _too_little(options, improvement)


def _too_little(options: TrainOptions, improvement: Improvement) -> str:
    least, sure = options.min_improvement, f"at confidence {options.confidence:g} the improvement"
    if improvement.value <= least:
        return f"; better by {improvement.value:.4f}, and it takes more than {least:g}"
    if options.confidence and improvement.low is None:
        return f"; {sure} cannot be bounded"
    if options.confidence and improvement.low is not None and improvement.low <= least:
        return f"; {sure} may be as low as {improvement.low:.4f}, and it takes more than {least:g}"
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
