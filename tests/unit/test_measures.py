"""Metrics are scikit-learn's to the last digit, with the rows' weights; intervals are never empty."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize

from modeler import dataset as datasets
from modeler import evaluate, intervals, table, train
from modeler.measures import Evaluation, measure, per_row
from models.options import (
    CLASSIFICATION_METRICS,
    LOWER_IS_BETTER,
    REGRESSION_METRICS,
    Metric,
    MetricParams,
    TrainOptions,
)
from tests.unit.test_models import fitted

ROWS = 200
CHANCE = np.random.default_rng(0)
WEIGHTS = CHANCE.uniform(0.1, 3, ROWS)
PARAMS = MetricParams(beta=2.0, top_k=2, quantile=0.9)


def classified(classes: int, weights: Any = None) -> Evaluation:
    chance = np.random.default_rng(classes)
    truth = chance.integers(classes, size=ROWS)
    scores = chance.normal(size=(ROWS, classes)) + 1.5 * np.eye(classes)[truth]
    table_ = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = [f"class {place}" for place in range(classes)]
    said = np.array(names, dtype=object)[table_.argmax(axis=1)]
    return Evaluation("classification", np.array(names, dtype=object)[truth], said, table_, names, weights, params=PARAMS)


def measured(weights: Any = None) -> Evaluation:
    truth = np.random.default_rng(5).normal(10, 3, ROWS)
    return Evaluation("regression", truth, truth + np.random.default_rng(6).normal(size=ROWS), None, [], weights, params=PARAMS)


@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_metrics_of_two_classes_are_scikit_learns(w: Any) -> None:
    e = classified(2, w)
    assert e.table is not None
    positive, p = e.truth == "class 1", e.table[:, 1]
    expected = {
        "accuracy": sk.accuracy_score(e.truth, e.labels, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(e.truth, e.labels, sample_weight=w),
        "f1_macro": sk.f1_score(e.truth, e.labels, average="macro", sample_weight=w),
        "f_beta": sk.fbeta_score(e.truth, e.labels, beta=2.0, pos_label="class 1", sample_weight=w),
        "log_loss": sk.log_loss(e.truth, e.table, sample_weight=w),
        "brier": sk.brier_score_loss(e.truth, p, pos_label="class 1", sample_weight=w),
        "roc_auc": sk.roc_auc_score(positive, p, sample_weight=w),
        "average_precision": sk.average_precision_score(positive, p, sample_weight=w),
        "top_k_accuracy": None,
    }
    assert {name: measure(name, e) for name in CLASSIFICATION_METRICS} == expected


@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_metrics_of_four_classes_are_scikit_learns(w: Any) -> None:
    e = classified(4, w)
    assert e.table is not None
    expected = {
        "f_beta": sk.fbeta_score(e.truth, e.labels, beta=2.0, average="macro", sample_weight=w),
        "brier": sk.brier_score_loss(e.truth, e.table, sample_weight=w),
        "roc_auc": sk.roc_auc_score(e.truth, e.table, multi_class="ovr", sample_weight=w),
        "average_precision": sk.average_precision_score(label_binarize(e.truth, classes=e.classes), e.table, sample_weight=w),
        "top_k_accuracy": sk.top_k_accuracy_score(e.truth, e.table, k=2, labels=e.classes, sample_weight=w),
    }
    assert {name: measure(name, e) for name in expected} == expected
    found = evaluate.metrics(e, "accuracy")
    precision, recall, _, _ = sk.precision_recall_fscore_support(e.truth, e.labels, sample_weight=w)
    assert found.classes is not None
    assert [(each.label, each.precision, each.recall) for each in found.classes] == list(
        zip(e.classes, precision, recall, strict=True)
    )
    assert sum(each.rows for each in found.classes) == ROWS
    assert (found.beta, found.top_k, found.quantile) == (2.0, 2, None)


@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_metrics_of_numbers_are_scikit_learns(w: Any) -> None:
    e = measured(w)
    assert {name: measure(name, e) for name in REGRESSION_METRICS} == {
        "mae": sk.mean_absolute_error(e.truth, e.labels, sample_weight=w),
        "rmse": sk.root_mean_squared_error(e.truth, e.labels, sample_weight=w),
        "r2": sk.r2_score(e.truth, e.labels, sample_weight=w),
        "mape": sk.mean_absolute_percentage_error(e.truth, e.labels, sample_weight=w),
        "median_absolute_error": sk.median_absolute_error(e.truth, e.labels, sample_weight=w),
        "pinball": sk.mean_pinball_loss(e.truth, e.labels, alpha=0.9, sample_weight=w),
    }


@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_the_parts_of_a_mean_have_the_metric_as_their_mean(w: Any) -> None:
    seen = 0
    for e in (classified(2, w), classified(4, w), measured(w)):
        for metric in CLASSIFICATION_METRICS if e.task == "classification" else REGRESSION_METRICS:
            parts, value = per_row(metric, e), measure(metric, e)
            if parts is not None and value is not None:
                mean = np.average(parts, weights=w)
                assert (np.sqrt(mean) if metric == "rmse" else mean) == pytest.approx(value, rel=1e-12), metric
                seen += 1
    assert seen == 3 + 4 + 4


# Intervals


@pytest.mark.parametrize("metric", [*CLASSIFICATION_METRICS, *REGRESSION_METRICS])
def test_an_interval_holds_its_metric(metric: Metric) -> None:
    e = measured(WEIGHTS) if metric in REGRESSION_METRICS else classified(3 if metric == "top_k_accuracy" else 2, WEIGHTS)
    e = e.take(np.arange(50))
    found, value = intervals.interval(metric, e, 0.95), measure(metric, e)
    assert found is not None
    assert value is not None
    assert found.low < value < found.high


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "f_beta", "roc_auc", "average_precision"])
def test_a_perfect_score_on_33_rows_is_not_certain(metric: Metric) -> None:
    truth = np.arange(33) % 2
    perfect = Evaluation("classification", truth, truth, np.eye(2)[truth], [0, 1])
    found = intervals.interval(metric, perfect, 0.95)
    assert found is not None
    assert found.high == 1.0
    assert 0.7 < found.low < 0.9


def test_wilsons_interval_is_that_of_the_literature() -> None:
    """Of 81 of 263 (Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I)."""
    assert intervals.wilson(81 / 263, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(1.0, 20, 0.95) == pytest.approx((0.8389, 1.0), abs=5e-5)


def test_rows_that_are_alike_widen_an_interval() -> None:
    chance = np.random.default_rng(1)
    clusters = np.repeat(np.arange(14, dtype=np.uint64), 10)
    right = (chance.random(14) < 0.7).repeat(10)
    truth = np.zeros(140, dtype=int)
    widths = []
    for clustered in (None, clusters):
        found = intervals.interval(
            "accuracy", Evaluation("classification", truth, 1 - right, None, [0, 1], clusters=clustered), 0.95
        )
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]
    e = measured()
    plain = intervals.interval("rmse", e, 0.95)
    twins = e.take(np.repeat(np.arange(ROWS // 4), 4))
    alike = intervals.interval("rmse", replace(twins, clusters=np.repeat(np.arange(50, dtype=np.uint64), 4)), 0.95)
    assert plain is not None
    assert alike is not None
    assert alike.high - alike.low > 1.5 * (plain.high - plain.low)


def test_the_interval_of_an_improvement_is_not_empty_where_both_are_perfect() -> None:
    truth = np.arange(33) % 2
    perfect = Evaluation("classification", truth, truth, None, [0, 1])
    found = intervals.improvement("accuracy", perfect, perfect, 0.95)
    assert found is not None
    assert -0.1 < found.low < 0 < found.high < 0.1


def test_an_improvement_that_cannot_be_bounded_has_no_interval() -> None:
    e = measured()
    assert intervals.improvement("rmse", e, e, 0.95) is None
    exact = Evaluation("regression", e.truth, e.truth, None, [])
    assert intervals.interval("rmse", exact, 0.95) is None


# Weights


def test_weights_count_for_the_metrics_of_a_training() -> None:
    """Of rows with odd a the model can know nothing; they weigh little."""
    chance = np.random.default_rng(2)
    lines = "".join(
        f"{n},{0.001 if n % 2 else 1},{chance.integers(2) if n % 2 else int(n > 300)}\n" for n in chance.permutation(600)
    )
    rows = datasets.make(table.read(("a,w,y\n" + lines).encode(), "csv"), "y", weight="w")
    made = fitted(TrainOptions(model="m", estimator="DecisionTreeClassifier", params={"max_depth": 1}), rows)
    accuracy = evaluate.metrics(made.evaluation, "accuracy").accuracy
    unweighted = (made.evaluation.truth == made.evaluation.labels).mean()
    assert rows.weights is not None
    weights = rows.weights[rows.in_test]
    assert accuracy == sk.accuracy_score(made.evaluation.truth, made.evaluation.labels, sample_weight=weights)
    assert accuracy is not None
    assert accuracy > 0.95
    assert unweighted < 0.9
    compared = train._comparison_rows(rows, rows.split, None)
    assert compared.weights is not None
    assert np.array_equal(compared.weights, weights)


def test_of_errors_less_is_better() -> None:
    assert set(LOWER_IS_BETTER) == {"log_loss", "brier", "mae", "rmse", "mape", "median_absolute_error", "pinball"}
