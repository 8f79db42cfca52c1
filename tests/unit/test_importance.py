"""What a model uses, what gives the target away, and cross-validation beside few test rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modeler import dataset, table
from modeler.cross_validation import beside_few, folds
from modeler.data_warnings import data_warnings
from modeler.dataset import Dataset
from modeler.importance import importances
from models.options import MetricParams, TrainOptions
from tests.unit.test_models import IRIS, fitted, make

PARAMS = MetricParams()
TREE = TrainOptions(model="m", estimator="DecisionTreeClassifier")


def ready(columns: dict[str, Any], **options: Any) -> Dataset:
    return dataset.make(table.read(pd.DataFrame(columns).to_csv(index=False).encode(), "csv"), "y", **options)


def chances(rows: int = 400) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    x, other = chance.normal(size=(2, rows))
    return {"other": other, "x": x, "y": ((x + 0.5 * chance.normal(size=rows)) > 0).astype(int)}


# Importance


def test_the_feature_that_the_model_uses_is_the_most_important() -> None:
    made = fitted(TrainOptions(model="m", estimator="LogisticRegression"), ready(chances()))
    assert made.importances is not None
    first, second = made.importances
    assert (first.feature, second.feature) == ("x", "other")
    assert first.low < first.value < first.high
    assert first.low > 0.2
    assert abs(second.value) < 0.05


def test_of_an_error_the_importance_is_above_0_as_well() -> None:
    columns = chances()
    made = fitted(TrainOptions(model="m", estimator="LinearRegression"), ready({**columns, "y": 3 * columns["x"] + 1.5}))
    assert made.importances is not None
    assert made.importances[0].feature == "x"
    assert made.importances[0].low > 1


def test_of_too_many_features_none_is_computed() -> None:
    columns = {f"x{n}": np.random.default_rng(n).normal(size=60) for n in range(101)}
    rows = ready({**columns, "y": np.arange(60) % 2})
    assert importances(fitted(TREE, ready(chances())).estimator, rows, "accuracy", PARAMS) is None


def test_the_card_has_the_importances(tmp_path: Path) -> None:
    card = make(tmp_path)
    assert card.importances is not None
    assert {each.feature for each in card.importances} == set(IRIS.schema.names)


# Leaks


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (lambda c: np.where(c["y"] == 1, "gone", "here"), "'leak' is a duplicate of 'y'"),
        (lambda c: c["y"] * 10 + np.abs(c["other"]), "'leak' alone predicts 'y' almost perfectly"),
        (lambda c: c["x"] + c["other"], ""),
    ],
)
def test_a_column_that_gives_the_class_away_is_told(column: Any, says: str) -> None:
    columns = chances()
    told = [warning for warning in data_warnings(ready({"leak": column(columns), **columns})) if "'leak'" in warning]
    assert len(told) == bool(says)
    assert all(says in warning for warning in told)


def test_a_column_that_gives_a_number_away_is_told() -> None:
    columns = chances()
    y = columns["x"] + columns["other"]
    told = data_warnings(ready({"twice": 2 * y - 1, "x": columns["x"], "y": y}))
    assert any("'twice' is a duplicate of 'y'" in warning for warning in told)
    assert not any("'x'" in warning for warning in told)


def test_an_id_is_told() -> None:
    columns = chances()
    ids = np.random.default_rng(1).permutation(400) + 10_000
    told = data_warnings(ready({"client_id": ids, "paid": ids, **columns}))
    assert [warning.partition(" is an id")[0] for warning in told if "is an id" in warning] == ["'client_id'"]


# Cross-validation


def test_beside_few_test_rows_there_is_a_cross_validation(tmp_path: Path) -> None:
    few, many = (fitted(TREE, ready(chances(rows))) for rows in (100, 400))
    assert few.cross_validation is not None
    found = few.cross_validation
    assert (found.metric, found.folds, found.rows) == ("accuracy", 15, int((~few.dataset.in_test).sum()))
    assert found.low < found.value < found.high
    assert 0.6 < found.value < 0.95
    assert many.cross_validation is None
    assert beside_few(few.estimator, few.dataset, "accuracy", PARAMS, fit_seconds=60) is None


@pytest.mark.parametrize("by", ["group", "time"])
def test_folds_keep_to_the_split(by: str) -> None:
    columns = {"place": np.arange(100) % 20, **chances(100)}
    rows = ready(columns, **{by: "place"})
    places, learn = rows.table.frame.place.to_numpy(), np.flatnonzero(~rows.in_test)
    for fitted_, rest in folds(rows, learn):
        assert not rows.in_test[[*fitted_, *rest]].any()
        if by == "group":
            assert not set(places[fitted_]) & set(places[rest])
        else:
            assert places[fitted_].max() <= places[rest].min()
