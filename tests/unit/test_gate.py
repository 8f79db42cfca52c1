"""Many challengers on one set of test rows: they are counted, and luck promotes none of them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from modeler import intervals
from modeler.measures import Evaluation
from models import gate
from models.card import Card, Interval, Metrics
from models.gate import Comparison
from models.options import TrainOptions
from tests.unit.test_models import make

ROWS = 200


def compared(truth: Any, ours: Any, theirs: Any, count: int, confidence: float = 0.0) -> gate.Verdict:
    """Return the verdict on two models that predict two classes."""
    first, second = (Evaluation("classification", truth, labels, None, [0, 1]) for labels in (ours, theirs))
    required = gate.required_confidence(confidence, count)
    bound = intervals.improvement("accuracy", first, second, required) if required else None
    mine, other = (Metrics(len(truth), float((truth == labels).mean())) for labels in (ours, theirs))
    comparison = Comparison(1, mine, other, intervals.improvement("accuracy", first, second, 0.95), None, count, bound)
    return gate.decide(TrainOptions(model="m", confidence=confidence), "accuracy", comparison)


def promoted_by_luck(challengers: int, counted: bool, seed: int) -> bool:
    """Return whether one of so many challengers wins that are exactly as good as the champion."""
    chance = np.random.default_rng(seed)
    truth = np.zeros(ROWS, dtype=int)
    champion = (chance.random(ROWS) < 0.2).astype(int)
    for count in range(1, challengers + 1):
        ours = (chance.random(ROWS) < 0.2).astype(int)
        if compared(truth, ours, champion, count if counted else 1).promoted:
            return True
    return False


def test_many_challengers_that_are_no_better_do_not_win_by_luck() -> None:
    """Uncounted, one of fifteen wins nearly always."""
    uncounted, counted = (np.mean([promoted_by_luck(15, each, seed) for seed in range(40)]) for each in (False, True))
    assert uncounted > 0.85
    assert counted < 0.7


def test_a_challenger_that_is_really_better_wins_all_the_same() -> None:
    truth = np.zeros(ROWS, dtype=int)
    theirs, ours = (np.arange(ROWS) % 4 == 0).astype(int), (np.arange(ROWS) % 12 == 0).astype(int)
    verdict = compared(truth, ours, theirs, 50)
    assert verdict.promoted
    assert "at confidence 0.98, for challenger 50 on these test rows, the improvement is at least 0.1" in verdict.reason


def test_the_reason_says_how_many_challengers_there_were() -> None:
    truth = np.zeros(ROWS, dtype=int)
    theirs, ours = np.eye(1, ROWS, 3, dtype=int)[0], truth
    assert compared(truth, ours, theirs, 1).promoted
    verdict = compared(truth, ours, theirs, 20)
    assert not verdict.promoted
    assert "at confidence 0.95, for challenger 20 on these test rows, the improvement may be as low as -0.0" in verdict.reason


@pytest.mark.parametrize(("confidence", "count", "required"), [(0.0, 1, 0.0), (0.9, 1, 0.9), (0.0, 4, 0.75), (0.9, 2, 0.95)])
def test_the_confidence_that_is_required(confidence: float, count: int, required: float) -> None:
    assert gate.required_confidence(confidence, count) == pytest.approx(required)


def test_challengers_are_counted_since_the_test_rows_were_new(tmp_path: Path) -> None:
    first: Card = make(tmp_path)
    assert first.challengers == 0
    assert gate.challengers([], "GaussianNB", {}, first.data) == 1
    assert gate.challengers([first], "GaussianNB", {}, first.data) == 1
    tenth = msgspec.structs.replace(first, version=12, challengers=10)
    assert gate.challengers([tenth, first], "GaussianNB", {}, first.data) == 11
    assert gate.challengers([tenth, first], first.estimator, first.params, first.data) == 10, "the same once more"
    other = msgspec.structs.replace(first.data, dataset="another")
    assert gate.challengers([tenth], "GaussianNB", {}, other) == 1
    tested = first.data.rows - first.data.training_rows
    grown = msgspec.structs.replace(first.data, rows=first.data.rows + 4 * tested, sha256="other")
    assert gate.challengers([tenth], "GaussianNB", {}, grown) == 1 + 2


@pytest.mark.parametrize(("promote", "promoted"), [("always", True), ("never", False)])
@pytest.mark.parametrize(("ours", "says"), [(0.7, "it is worse"), (0.9, "accuracy 0.9000 against 0.8000 of version 1")])
def test_a_verdict_that_is_overruled_is_told(promote: Any, promoted: bool, ours: float, says: str) -> None:
    comparison = Comparison(1, Metrics(30, ours), Metrics(30, 0.8), Interval("accuracy", -0.1, 0.1, 0.95))
    verdict = gate.decide(TrainOptions(model="m", promote=promote), "accuracy", comparison)
    assert verdict.promoted is promoted
    assert verdict.reason.startswith(f"promote={promote}, whatever the comparison says: ")
    assert says in verdict.reason
