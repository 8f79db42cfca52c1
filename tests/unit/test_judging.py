"""What a training says about a model holds: its intervals cover the truth as often as they say."""

import pytest

from benchmarks import judging

TOLERANCE = 0.02  # of the coverage; of 500 data sets its standard error is 0.01, and the seeds are fixed


@pytest.mark.slow
def test_an_interval_of_accuracy_holds_the_truth_as_often_as_it_says() -> None:
    """`python -m benchmarks.judging` measures other metrics, and agreement with scikit-learn's splits on real tables."""
    assert judging.covered("accuracy", 300) == pytest.approx(judging.CONFIDENCE, abs=TOLERANCE)


def test_an_interval_holds_the_truth_roughly_in_few_simulations() -> None:
    """The quick one: of 100 data sets the standard error is 0.022."""
    assert judging.covered("rmse", 300, simulations=100) > 0.95 - 3 * 0.022
