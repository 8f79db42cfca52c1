"""Parameters as JSON has them: weights by class, estimators by name, and parameters of estimators inside."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.tree import DecisionTreeClassifier

from modeler import dataset, estimators, table
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from models.catalog import check_estimator
from models.input_errors import InvalidInput
from models.options import TrainOptions

RNG = np.random.default_rng(2)


def rows_of(labels: list[Any]) -> Dataset:
    frame = pd.DataFrame({"x": RNG.normal(size=120), "z": RNG.normal(size=120), "y": [labels[at % 2] for at in range(120)]})
    return dataset.make(table.read(frame.to_parquet(), "parquet"), task="classification")


TEXTS = rows_of(["no", "yes"])


def built(name: str, params: Mapping[str, Any], rows: Dataset = TEXTS, allowed: str = "") -> Any:
    return estimators.bare(estimators.build(name, params, rows, allowed))


@pytest.mark.parametrize(
    ("labels", "heavy", "label"), [(["no", "yes"], "yes", "yes"), ([3, 7], "7", 7), ([False, True], "true", True)]
)
def test_weights_by_class_have_the_labels_type_and_count(labels: list[Any], heavy: str, label: Any) -> None:
    """So heavy a class is predicted everywhere: the features say nothing."""
    rows = rows_of(labels)
    estimator = estimators.build("LogisticRegression", {"class_weight": {heavy: 1000}}, rows)
    assert estimators.bare(estimator).class_weight == {label: 1000.0}
    estimators.fit(estimator, rows)
    assert set(estimator.predict(rows.features).tolist()) == {label}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"maybe": 2}, "class_weight names classes that are not there: maybe; there are no, yes"),
        ({"yes": "2"}, "class_weight of 'yes' is no number from 0"),
        ({"yes": -1}, "class_weight of 'yes' is no number from 0"),
    ],
)
def test_wrong_weights_get_a_sentence(weights: Any, reason: str) -> None:
    with pytest.raises(BadTrainingData, match=reason):
        built("LogisticRegression", {"class_weight": weights})


def test_an_estimator_is_a_parameter_by_its_name() -> None:
    inner = {"class": "DecisionTreeClassifier", "params": {"max_depth": 3, "class_weight": "balanced"}}
    found = built("AdaBoostClassifier", {"estimator": inner, "estimator__min_samples_leaf": 4, "n_estimators": 5})
    assert isinstance(found.estimator, DecisionTreeClassifier)
    assert (found.estimator.max_depth, found.estimator.min_samples_leaf, found.n_estimators) == (3, 4, 5)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"estimator__max_depth": 3}, "estimator of AdaBoostClassifier is no estimator, so estimator__max_depth cannot be set"),
        (
            {"estimator": {"class": "RandomForestClassifier", "params": {"n_jobs": 64}}},
            "RandomForestClassifier has no parameter n_jobs",
        ),
        ({"estimator": {"class": "Pickle"}}, "there is no estimator Pickle that may be trained"),
        ({"estimator": {"class": "DecisionTreeClassifier", "params": {"max_dept": 3}}}, "did you mean max_depth"),
        (
            {"estimator": {"class": "DecisionTreeClassifier"}, "estimator__dept": 3},
            "DecisionTreeClassifier has no parameter dept",
        ),
        ({"estimator": {"max_depth": 3}}, "estimator takes a plain value or an estimator"),
        ({"n_estimators": {"a": 3}}, "n_estimators takes a plain value or an estimator"),
    ],
)
def test_what_cannot_be_set_gets_a_sentence(params: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(BadTrainingData, match=reason):
        built("AdaBoostClassifier", params)


class Weighed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Takes classes that are numbered from 0 alone, and keeps the weights that it was fitted with."""

    def __init__(self, class_weight: Any = None) -> None:
        self.class_weight = class_weight

    def fit(self, features: Any, target: Any) -> Self:
        assert len(features) == len(target)
        assert sorted(set(target.tolist())) == [0, 1]
        self.seen = self.class_weight
        return self

    def predict(self, features: Any) -> NDArray[Any]:
        return np.zeros(len(features), dtype=np.int64)


def test_weights_of_an_estimator_with_numbered_classes_are_by_number_at_each_fit() -> None:
    estimator = estimators.build("Weighed", {"class_weight": {"yes": 5}}, TEXTS, f"{__name__}.Weighed")
    for each in (estimator, clone(estimators.fit(estimator, TEXTS))):
        assert estimators.bare(estimators.fit(each, TEXTS)).seen == {1: 5.0}


def test_requests_take_such_parameters_and_bound_them() -> None:
    body = {
        "estimator": "AdaBoostClassifier",
        "params": {
            "estimator": {"class": "DecisionTreeClassifier", "params": {"max_depth": 2}},
            "estimator__min_samples_leaf": 2,
        },
    }
    check_estimator(msgspec.convert(body, TrainOptions), "")
    with pytest.raises(InvalidInput):
        check_estimator(msgspec.convert({**body, "params": {"estimatr__max_depth": 2}}, TrainOptions), "")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**body, "params": {"class_weight": {str(at): 1 for at in range(1001)}}}, TrainOptions)
