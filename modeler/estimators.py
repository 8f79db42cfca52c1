"""Builds estimators by name, with the scikit-learn preprocessing that each needs for the columns of a data set."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.label_encoding import LabelEncodedClassifier
from modeler.parameters import set_params
from modeler.preprocessing import SEED, preprocessing
from models.catalog import allowed_classes, catalog
from models.feature import TEXTS
from models.options import AUTO
from models.schema import Schema, Task

MANY_ROWS = 2000  # from so many training rows on, auto picks boosting
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "LogisticRegression": {"max_iter": 1000},
    "MLPClassifier": {"max_iter": 500},
    "MLPRegressor": {"max_iter": 500},
}
REGULARIZATION = 1e-3  # of covariances
FEW_MEMBERS = 10  # of a class: cross-validation inside of an estimator may need as many
ESTIMATOR = "estimator"  # the name of a pipeline's last step


def build(name: str, params: Mapping[str, Any], dataset: Dataset, allowed: str = "") -> Any:
    """Return an unfitted estimator for the data set's matrix. Raises BadTrainingData if the estimator is unknown, is for another
    task, or has no such parameter."""
    cls = _class(name, allowed)
    configured = _configured(cls, name, params, dataset.schema, allowed)
    task = dataset.schema.task
    if not (is_classifier(configured) if task == "classification" else is_regressor(configured)):
        raise BadTrainingData(f"{name} is not for {task}, and {dataset.schema.target!r} asks for that (or give task=…)")
    _spare_rare_classes(configured, params, dataset)
    _regularize(configured, params, dataset)
    columns = preprocessing(configured, dataset)
    if task == "classification" and not type(configured).__module__.startswith("sklearn."):
        configured = LabelEncodedClassifier(configured)
    return Pipeline([("columns", columns), (ESTIMATOR, configured)]) if columns else configured


def _spare_rare_classes(estimator: Any, params: Mapping[str, Any], dataset: Dataset) -> None:
    """Switch off early stopping where boosting would fail on it: it holds out some rows of each class, and one row cannot be
    divided."""
    if isinstance(estimator, HistGradientBoostingClassifier) and "early_stopping" not in params and _rarest(dataset)[1] < 2:
        estimator.set_params(early_stopping=False)


def _regularize(estimator: Any, params: Mapping[str, Any], dataset: Dataset) -> None:
    """Make quadratic discriminant analysis possible with categories: one-hot columns depend on each other, and so the covariances
    have no inverse."""
    encoded = any(feature.type in TEXTS for feature in dataset.schema.features)
    if isinstance(estimator, QuadraticDiscriminantAnalysis) and encoded and "reg_param" not in params:
        estimator.set_params(reg_param=REGULARIZATION)


def _rarest(dataset: Dataset) -> tuple[Any, int]:
    """Return the class with the fewest training rows, and their number."""
    classes, counts = np.unique(dataset.target[~dataset.in_test], return_counts=True)
    place = int(counts.argmin())
    return classes[place], int(counts[place])


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
    """Fit on the training rows. Raises BadTrainingData if the data set has weights and the estimator takes none, or if a class
    has too few rows for it."""
    in_training = ~dataset.in_test
    features, target = dataset.features[in_training], dataset.target[in_training]
    options = {}
    if dataset.weights is not None:
        last = bare(estimator)
        if "sample_weight" not in inspect.signature(last.fit).parameters:
            raise BadTrainingData(f"{type(last).__name__} takes no sample weights")
        step = f"{ESTIMATOR}__" if isinstance(estimator, Pipeline) else ""
        options = {f"{step}sample_weight": dataset.weights[in_training]}
    try:
        return estimator.fit(features, target, **options)
    except ValueError as error:
        label, rows = _rarest(dataset) if dataset.schema.task == "classification" else ("", FEW_MEMBERS)
        if rows >= FEW_MEMBERS:
            raise
        raise BadTrainingData(
            f"{str(label)!r} has only {rows} training rows, which is too few for this estimator: {error}"
        ) from error


def bare(estimator: Any) -> Any:
    """Return the estimator without its preprocessing and the encoding of its labels."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    return last.estimator if isinstance(last, LabelEncodedClassifier) else last


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


def _configured(cls: Any, name: str, params: Mapping[str, Any], schema: Schema, allowed: str) -> Any:
    """Return an estimator with the defaults and then with the parameters. Raises BadTrainingData."""
    estimator = cls()
    accepted = estimator.get_params(deep=False)
    defaults = {"random_state": SEED, **DEFAULTS.get(name, {})}
    estimator.set_params(**{key: value for key, value in defaults.items() if key in accepted})

    def inside(inner: str, its_params: Mapping[str, Any]) -> Any:
        return _configured(_class(inner, allowed), inner, its_params, schema, allowed)

    return set_params(estimator, name, params, schema, inside)
