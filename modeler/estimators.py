"""Builds estimators by name, with the scikit-learn preprocessing that each needs for the columns of a data set."""

import importlib
import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modeler.dataset import Dataset
from modeler.table import BadTrainingData
from models.catalog import allowed_classes, catalog
from models.input_errors import listed
from models.options import AUTO
from models.schema import Task

SEED = 0
MANY_ROWS = 2000  # from so many training rows on, auto picks boosting
UNSCALED = ("ensemble", "tree", "naive_bayes", "dummy")  # modules whose estimators do not depend on the features' scale
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "LogisticRegression": {"max_iter": 1000},
    "MLPClassifier": {"max_iter": 500},
    "MLPRegressor": {"max_iter": 500},
}
ESTIMATOR = "estimator"  # the name of a pipeline's last step


def build(name: str, params: Mapping[str, Any], dataset: Dataset, allowed: str = "") -> Any:
    """Return an unfitted estimator for the data set's matrix. Raises BadTrainingData if the estimator is unknown, is for another
    task, or has no such parameter."""
    cls = _class(name, allowed)
    bare = _configured(cls, name, params)
    task = dataset.schema.task
    if not (is_classifier(bare) if task == "classification" else is_regressor(bare)):
        raise BadTrainingData(f"{name} is not for {task}, and {dataset.schema.target!r} asks for that (or give task=…)")
    preprocessing = _preprocessing(bare, dataset)
    return Pipeline([("columns", preprocessing), (ESTIMATOR, bare)]) if preprocessing else bare


def pick(dataset: Dataset) -> str:
    """Choose the estimator for auto: boosting for many rows, a forest for few."""
    rows = int((~dataset.in_test).sum())
    suffix = "Classifier" if dataset.schema.task == "classification" else "Regressor"
    return ("HistGradientBoosting" if rows >= MANY_ROWS else "RandomForest") + suffix


def resolve(name: str, dataset: Dataset) -> str:
    """Return the estimator's name, with auto resolved."""
    return pick(dataset) if name in ("", AUTO) else name


def baseline(task: Task) -> Any:
    """Return the dummy estimator that a model must beat: it predicts the most frequent class, or the mean."""
    return DummyClassifier(strategy="prior") if task == "classification" else DummyRegressor()


def fit(estimator: Any, dataset: Dataset) -> Any:
    """Fit on the training rows. Raises BadTrainingData if the data set has weights and the estimator takes none."""
    in_training = ~dataset.in_test
    features, target = dataset.features[in_training], dataset.target[in_training]
    if dataset.weights is None:
        return estimator.fit(features, target)
    bare = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if "sample_weight" not in inspect.signature(bare.fit).parameters:
        raise BadTrainingData(f"{type(bare).__name__} takes no sample weights")
    step = f"{ESTIMATOR}__" if isinstance(estimator, Pipeline) else ""
    return estimator.fit(features, target, **{f"{step}sample_weight": dataset.weights[in_training]})


def _class(name: str, allowed: str) -> Any:
    entry = catalog().get(name)
    path = f"{entry.module}.{name}" if entry else allowed_classes(allowed).get(name)
    if path is None:
        raise BadTrainingData(f"there is no estimator {name} that may be trained (MLDEPLOY_ESTIMATORS allows more)")
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadTrainingData(f"{path} is allowed, and cannot be imported here: {error}") from None


def _configured(cls: Any, name: str, params: Mapping[str, Any]) -> Any:
    estimator = cls()
    accepted = estimator.get_params(deep=False)
    for param in params:
        if param not in accepted:
            close = get_close_matches(param, list(accepted), n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {listed(sorted(accepted))}"
            raise BadTrainingData(f"{name} has no parameter {param}: {hint}")
    defaults = {"random_state": SEED, **DEFAULTS.get(name, {})}
    return estimator.set_params(**{key: value for key, value in defaults.items() if key in accepted} | dict(params))


def _preprocessing(bare: Any, dataset: Dataset) -> Any:
    """Return a transformer, or None if the estimator accepts the matrix as it is."""
    kinds = [feature.type == "category" for feature in dataset.schema.features]
    categories, numbers = [place for place, is_ in enumerate(kinds) if is_], [place for place, is_ in enumerate(kinds) if not is_]
    if categories and "categorical_features" in bare.get_params(deep=False):
        bare.set_params(categorical_features=categories)
        return None
    for_numbers = _for_numbers(bare, bool(np.isnan(dataset.features[:, numbers]).any()))
    if not categories:
        return for_numbers
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    steps = [("numbers", for_numbers or "passthrough", numbers)] if numbers else []
    return ColumnTransformer([*steps, ("categories", one_hot, categories)])


def _for_numbers(bare: Any, gaps: bool) -> Any:
    steps: list[Any] = []
    if gaps and not bare.__sklearn_tags__().input_tags.allow_nan:
        steps.append(SimpleImputer(strategy="median"))
    package, _, module = type(bare).__module__.partition(".")
    if package == "sklearn" and module.partition(".")[0] not in UNSCALED:
        steps.append(StandardScaler())
    return make_pipeline(*steps) if len(steps) > 1 else steps[0] if steps else None
