"""What reaches an estimator: dates, categories of any cardinality, labels of any type, classes with few rows."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from modeler import dataset, estimators, table, train
from modeler.data_warnings import data_warnings
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.measures import measure
from modeler.predictor import Predictor
from modeler.train import Made, Plan
from models.options import Metric

RNG = np.random.default_rng(0)
SMALL: Mapping[str, Mapping[str, Any]] = {
    "HistGradientBoosting": {"max_iter": 10},
    "RandomForest": {"n_estimators": 10},
    "KNeighbors": {},
}


def prepared(frame: pd.DataFrame, **options: Any) -> Dataset:
    return dataset.make(table.read(frame.to_parquet(), "parquet"), **options)


def trained(rows: Dataset, name: str, params: Mapping[str, Any] | None = None, allowed: str = "") -> Made:
    metric: Metric = "accuracy" if rows.schema.task == "classification" else "r2"
    return train.make(rows, Plan(name, params or {}, 0.0, metric, allowed), 0.0, lambda *_: None)


def by_the_date(rows: int, seconds: int) -> pd.DataFrame:
    """A table whose target depends on the date alone."""
    when = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows) * seconds, unit="s")
    return pd.DataFrame({"when": when, "noise": RNG.normal(size=rows), "y": np.sin(np.arange(rows) / 20) + np.arange(rows) / 100})


@pytest.mark.parametrize("name", ["ExtraTreesRegressor", "DecisionTreeRegressor", "GradientBoostingRegressor"])
def test_trees_keep_dates_ten_seconds_apart(name: str) -> None:
    """Their float32 keeps seconds since 1970 only to 128 s."""
    made = trained(prepared(by_the_date(720, 10)), name)
    assert (measure("r2", made.evaluation) or 0.0) > 0.98


def test_bayes_is_not_blinded_by_the_size_of_a_date() -> None:
    """Its smoothing is a share of the largest variance, and seconds since 1970 have a huge one."""
    label = RNG.integers(0, 2, 800)
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 2000, 800), unit="D")
    made = trained(
        prepared(pd.DataFrame({"when": when, "a": RNG.normal(size=800) + 4 * label, "y": label.astype(bool)})), "GaussianNB"
    )
    assert (measure("accuracy", made.evaluation) or 0.0) > 0.95


@pytest.mark.parametrize("name", ["HistGradientBoosting", "RandomForest", "KNeighbors"])
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
@pytest.mark.parametrize("cities", [255, 256, 1000])
def test_columns_of_any_cardinality_train(name: str, task: str, cities: int) -> None:
    effect = RNG.normal(size=cities)
    of = np.concatenate([np.arange(cities), RNG.integers(0, cities, 4 * cities)])
    y = effect[of] > 0 if task == "Classifier" else effect[of]
    few = [f"k{place % 3}" for place in of]
    frame = pd.DataFrame({"city": [f"city {n:04}" for n in of], "kind": few, "x": RNG.normal(size=len(of)), "y": y})
    made = trained(prepared(frame), name + task, SMALL[name])
    found = measure("accuracy" if task == "Classifier" else "r2", made.evaluation)
    assert found is not None
    if cities > 255:
        assert found > (0.85 if task == "Classifier" else 0.5)
    few_as = "as categories" if name.startswith("Hist") else "one-hot"
    assert made.encodings == {"city": "mean of the target" if cities > 255 else few_as, "kind": few_as}


def test_a_category_that_no_training_row_had_is_predicted() -> None:
    frame = pd.DataFrame({"city": [f"c{n % 400}" for n in range(2000)], "y": [n % 400 < 200 for n in range(2000)]})
    rows = prepared(frame)
    made = trained(rows, "HistGradientBoostingClassifier", SMALL["HistGradientBoosting"])
    (city,) = rows.schema.features
    assert (len(city.categories), city.unknown) == (400, "ignore")
    assert made.predictor.predict([city.encode(["c7"]), city.encode(["nowhere"])])[0] is True


@pytest.mark.parametrize("rows", [12, 120, 3000])
def test_names_that_nearly_all_differ_are_left_out_at_any_size(rows: int) -> None:
    name = [f"name {max(n, rows // 20)}" for n in range(rows)]
    ready = prepared(
        pd.DataFrame({"name": name, "kind": [f"k{n % 3}" for n in range(rows)], "y": [n % 2 == 0 for n in range(rows)]})
    )
    assert ready.schema.ignored == ("name",)
    assert any("left out" in warning and "name" in warning for warning in data_warnings(ready))


class NumberedOnly(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Takes only the classes 0, 1, 2 …, as XGBClassifier does; it predicts the class of the nearest first feature."""

    def fit(self, features: NDArray[np.float64], target: NDArray[Any], sample_weight: Any = None) -> Self:  # noqa: ARG002
        assert np.array_equal(np.unique(target), np.arange(len(np.unique(target)))), "invalid classes inferred"
        self.classes_ = np.arange(len(np.unique(target)))
        self.means_ = np.array([features[target == place, 0].mean() for place in self.classes_])
        return self

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.asarray(np.abs(features[:, :1] - self.means_).argmin(axis=1))

    def predict_proba(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.eye(len(self.classes_))[self.predict(features)]


@pytest.mark.parametrize("classes", [["no", "perhaps", "yes"], [3, 17, 40], [False, True]])
def test_labels_of_any_type_come_back_from_an_estimator_of_numbered_classes(classes: list[Any]) -> None:
    place = RNG.integers(0, len(classes), 300)
    frame = pd.DataFrame({"x": 10.0 * place + RNG.normal(size=300), "y": [classes[n] for n in place]})
    ready = prepared(frame)
    made = trained(ready, "NumberedOnly", allowed="tests.unit.test_preprocessing.NumberedOnly")
    predictor = made.predictor
    found = predictor.predict([[10.0 * n] for n in range(len(classes))])
    assert found == classes
    assert [type(label) for label in found] == [type(label) for label in classes]
    assert [max(row, key=row.__getitem__) for row in predictor.probabilities([[0.0]])] == [str(classes[0]).lower()]
    assert measure("accuracy", made.evaluation) == 1.0


def test_one_row_of_a_class_among_14000_does_not_fail_the_training() -> None:
    y = np.where(RNG.random(14_000) < 0.5, 0, 1)
    frame = pd.DataFrame({"x": RNG.normal(size=14_000) + 3 * y, "y": y})
    tested = prepared(frame).in_test
    for place in (int(tested.argmin()), int(tested.argmax())):  # a row to train on, and one to test
        frame.loc[place, "y"] = 2
        made = trained(prepared(frame), "HistGradientBoostingClassifier", {"max_iter": 2})
        table_ = made.predictor.table(made.dataset.features[:3])
        assert table_ is not None
        assert table_.shape == (3, 3)
        frame.loc[place, "y"] = 0


def test_probabilities_have_a_column_for_each_class_also_for_one_that_only_test_rows_have() -> None:
    frame = pd.DataFrame({"x": np.arange(200.0), "y": ["b" if n % 2 else "d" for n in range(200)]})
    tested = prepared(frame).in_test
    frame.loc[np.flatnonzero(tested)[:2], "y"] = "c"
    ready = prepared(frame)
    made = trained(ready, "RandomForestClassifier")
    assert ready.schema.classes == ("b", "c", "d")
    assert made.predictor.classes == ["b", "c", "d"]
    (row,) = made.predictor.probabilities([[1.0]])
    assert list(row) == ["b", "c", "d"]
    assert row["c"] == 0.0
    assert row["b"] > 0.5


def test_an_estimator_that_divides_each_class_says_which_has_too_few_rows() -> None:
    x = np.arange(200.0)
    trained_on = ~prepared(pd.DataFrame({"x": x, "y": [n % 2 for n in range(200)]})).in_test
    rare = int(np.flatnonzero(trained_on)[0])
    y = ["rare" if n == rare else "ab"[n % 2] for n in range(200)]
    with pytest.raises(BadTrainingData, match=r"'rare' has only 1 training rows"):
        trained(prepared(pd.DataFrame({"x": x, "y": y})), "QuadraticDiscriminantAnalysis")


def test_the_numbers_of_an_estimator_without_categories_are_as_before() -> None:
    rows = prepared(pd.DataFrame({"x": RNG.normal(size=100), "y": [n % 2 for n in range(100)]}))
    assert type(estimators.build("RandomForestClassifier", {}, rows)).__name__ == "RandomForestClassifier"


def test_a_predictor_of_all_classes_needs_no_spreading() -> None:
    rows = prepared(pd.DataFrame({"x": RNG.normal(size=100), "y": [n % 2 for n in range(100)]}))
    made = trained(rows, "LogisticRegression")
    assert isinstance(made.predictor, Predictor)
    table_ = made.predictor.table(rows.features[:5])
    assert table_ is not None
    assert np.array_equal(table_, made.estimator.predict_proba(rows.features[:5]))
