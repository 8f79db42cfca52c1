"""What a training says about a model holds: coverage of its intervals, and agreement with scikit-learn's own splits."""

import pytest

from benchmarks import judging
from models.options import Metric

TOLERANCE = 0.02  # of the coverage; of 500 data sets its standard error is 0.01, and the seeds are fixed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "rows"), [("accuracy", 300), ("rmse", 600), ("mae", 600), ("log_loss", 600), ("roc_auc", 300)]
)
def test_an_interval_holds_the_truth_as_often_as_it_says(metric: Metric, rows: int) -> None:
    assert judging.covered(metric, rows) == pytest.approx(judging.CONFIDENCE, abs=TOLERANCE)


def test_an_interval_holds_the_truth_roughly_in_few_simulations() -> None:
    """The quick one: of 100 data sets the standard error is 0.022."""
    assert judging.covered("rmse", 300, simulations=100) > 0.95 - 3 * 0.022


@pytest.mark.slow
@pytest.mark.parametrize("case", [*judging.of_scikit_learn()], ids=lambda case: case.name)
def test_twenty_random_splits_agree_with_one_training(case: judging.Case) -> None:
    """These five do; of many tables one in twenty need not."""
    assert judging.judge(case).agrees
