"""The gate decides which version serves, and why. A challenger must beat the champion on the same test rows, the first version
must beat the baseline; a tie keeps the champion.

Of many challengers on the same test rows one is better by luck at last. So they are counted, and the improvement of the k-th must
hold at a confidence at which all k together would have the chance of a single one (Bonferroni's correction).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from models.card import Card, Data, Interval, Metrics
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
    data set, if there are others too. ``challengers``: see Card. ``bound``: the interval of the improvement at the confidence
    that is required of so many; None: ``interval`` is that one."""

    version: int | None
    ours: Metrics | None
    theirs: Metrics | None
    interval: Interval | None
    on_known: Interval | None = None
    challengers: int = 1
    bound: Interval | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    promoted: bool
    reason: str
    improvement: Improvement | None = None


def challengers(earlier: Sequence[Card], estimator: str, params: Mapping[str, Any], data: Data) -> int:
    """Return the number of challengers on the test rows of ``data``, a new one with it. ``earlier``: the model's other versions.
    A version that is trained again on the same rows is no new one, and as the test rows become more the earlier ones count less.
    """
    cards = sorted((card for card in earlier if card.origin == "trained" and card.data.dataset == data.dataset), key=_version)
    if not cards:
        return 1
    last = cards[-1]
    if any(_is_same(card, estimator, params, data) for card in cards):
        return max(1, last.challengers)
    before, now = last.data.rows - last.data.training_rows, data.rows - data.training_rows
    return 1 + math.ceil(last.challengers * min(1.0, before / now))


def _version(card: Card) -> int:
    return card.version


def _is_same(card: Card, estimator: str, params: Mapping[str, Any], data: Data) -> bool:
    return (card.estimator, card.params, card.data.sha256) == (estimator, dict(params), data.sha256)


def required_confidence(confidence: float, of_challengers: int) -> float:
    """Return the confidence of the interval that must be above the least improvement; 0: none is required. A single challenger
    must only be better, which half of those are by chance that are as good; of the k-th that is so for 1 in 2k."""
    return 1 - (1 - confidence) / max(1, of_challengers)


def decide(options: TrainOptions, metric: Metric, comparison: Comparison) -> Verdict:
    improvement = _improvement(metric, comparison)
    verdict = _if_better(options, metric, comparison, improvement)
    if options.promote == "if_better":
        return verdict
    overruled = f"promote={options.promote}, whatever the comparison says: {verdict.reason}"
    return Verdict(options.promote == "always", overruled, improvement)


def _if_better(options: TrainOptions, metric: Metric, comparison: Comparison, improvement: Improvement | None) -> Verdict:
    if comparison.theirs is None or comparison.ours is None:
        return Verdict(False, f"version {comparison.version} {CANNOT_BE_COMPARED}")
    if improvement is None:
        return Verdict(False, f"{metric} cannot be computed for both")
    opponent = f"version {comparison.version}" if comparison.version else "the baseline that ignores the features"
    ours, theirs = comparison.ours.value(metric), comparison.theirs.value(metric)
    summary = f"{metric} {ours:.4f} against {theirs:.4f} of {opponent} on the same {comparison.ours.rows} test rows"
    objection = _objection(options, comparison, improvement)
    return Verdict(not objection, summary + (objection or _assurance(options, comparison)), improvement)


def _assurance(options: TrainOptions, comparison: Comparison) -> str:
    bound, at_confidence = comparison.bound or comparison.interval, _at_confidence(options, comparison)
    return f"; {at_confidence} is at least {bound.low:.4f}" if at_confidence and bound else ""


def _objection(options: TrainOptions, comparison: Comparison, improvement: Improvement) -> str:
    """Return why the challenger must not be promoted; empty if it may be."""
    better = improvement.value > 0
    if not better and not comparison.version:
        return "; the first version must beat the baseline"
    if not better:
        return "; a tie keeps the champion" if improvement.value == 0 else "; it is worse"
    if comparison.on_known and comparison.on_known.high < 0:
        return f"; but on the rows of version {comparison.version}'s own data set it is clearly worse"
    return _insufficient(options, comparison, improvement)


def _insufficient(options: TrainOptions, comparison: Comparison, improvement: Improvement) -> str:
    minimum, bound = options.min_improvement, comparison.bound or comparison.interval
    if improvement.value <= minimum:
        return f"; better by {improvement.value:.4f}, and it takes more than {minimum:g}"
    at_confidence = _at_confidence(options, comparison)
    if options.confidence and bound is None:
        return f"; {at_confidence} cannot be bounded"
    if at_confidence and bound and bound.low <= minimum:
        return f"; {at_confidence} may be as low as {bound.low:.4f}, and it takes more than {minimum:g}"
    return ""


def _at_confidence(options: TrainOptions, comparison: Comparison) -> str:
    """Return at which confidence the improvement must hold, and why; empty if it must only be there."""
    required = required_confidence(options.confidence, comparison.challengers)
    if not required:
        return ""
    why = f", for challenger {comparison.challengers} on these test rows," if comparison.challengers > 1 else ""
    return f"at confidence {required:.4g}{why} the improvement"


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
