"""The threshold from which on the second of two classes is predicted."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from modeler import dataset, table, train
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.measures import at, measure
from modeler.predictor import load
from models.options import TrainOptions
from tests.unit.test_models import fitted, make, shelf_at

CHANCE = np.random.default_rng(0)
X = CHANCE.normal(size=1000)
RARE = dataset.make(
    table.read(
        pd.DataFrame({"x": X, "y": np.where(X + CHANCE.normal(size=1000) > 1.8, "yes", "no")}).to_csv(index=False).encode(), "csv"
    )
)


def options(threshold: Any, **more: Any) -> TrainOptions:
    return TrainOptions(model="m", estimator="LogisticRegression", threshold=threshold, **more)


def labels(threshold: float, made: train.Made, rows: Dataset = RARE) -> list[str]:
    assert made.evaluation.table is not None
    return ["yes" if p >= threshold else "no" for p in made.evaluation.table[:, 1]]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_a_threshold_is_used_for_the_labels_and_changes_no_probability(threshold: float) -> None:
    made, plain = fitted(options(threshold), RARE), fitted(options(None), RARE)
    assert made.evaluation.labels.tolist() == labels(threshold, plain)
    assert np.array_equal(made.evaluation.table, plain.evaluation.table)  # type: ignore[arg-type]
    assert (made.evaluation.labels.tolist() == plain.evaluation.labels.tolist()) == (threshold == 0.5)


def test_auto_finds_a_better_threshold_on_training_rows_than_one_half() -> None:
    made, plain = fitted(options("auto", metric="f_beta", beta=2.0), RARE), fitted(options(None), RARE)
    assert made.threshold is not None
    assert made.threshold < 0.4
    evaluation = made.evaluation
    assert measure("f_beta", evaluation) == measure("f_beta", at(evaluation, made.threshold))
    assert measure("f_beta", evaluation) > 0.1 + measure("f_beta", at(evaluation, 0.5))  # type: ignore[operator]
    assert plain.threshold is None


def test_a_saved_version_predicts_by_its_threshold_and_a_retraining_keeps_it(tmp_path: Path) -> None:
    card = make(tmp_path, options=options(0.2), rows=RARE)
    assert (card.threshold, card.threshold_chosen) == (0.2, False)
    predictor, plain = load(shelf_at(tmp_path), card), fitted(options(None), RARE)
    said = predictor.predict(RARE.features[RARE.in_test].tolist())
    assert said == labels(0.2, plain)
    again = train.plan(TrainOptions(model="m"), card, RARE)
    assert again.threshold == 0.2
    chosen = msgspec.structs.replace(card, threshold_chosen=True)
    assert train.plan(TrainOptions(model="m"), chosen, RARE).threshold == "auto"


def test_one_row_alone_is_predicted_as_in_company(tmp_path: Path) -> None:
    predictor = fitted(options(0.3), RARE).predictor
    rows = RARE.features[:50].tolist()
    assert [predictor.predict([row])[0] for row in rows] == predictor.predict(rows)
    assert {type(label) for label in predictor.predict(rows)} == {str}


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (TrainOptions(model="m", estimator="LinearSVC", threshold=0.3), "an estimator with probabilities"),
        (TrainOptions(model="m", estimator="GaussianNB", threshold="auto", metric="roc_auc"), "roc_auc does not depend"),
    ],
)
def test_a_threshold_that_cannot_be_says_why(chosen: TrainOptions, says: str) -> None:
    with pytest.raises(BadTrainingData, match=says):
        fitted(chosen, RARE)


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("0.25", 0.25)])
def test_a_threshold_in_a_query_is_text_or_a_number(text: str, value: Any) -> None:
    assert msgspec.convert({"threshold": text}, TrainOptions, strict=False).threshold == value
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"threshold": "often"}, TrainOptions, strict=False)
