"""The schema of a model that was made elsewhere, and the values of its sample as they would be sent."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor

from modeler.errors import BadTrainingData
from models.card import Takes
from models.feature import MAX_NAME, Feature, FeatureType, Value
from models.schema import Schema, Task

EXAMPLES = {"boolean": False, "category": "", "date": "1970-01-01"}  # where the sample has none


def schema_of(estimator: Any, features: pd.DataFrame, takes: Takes, target: str, truth: Any) -> Schema:
    """Return the schema. Raises BadTrainingData for columns that no request can send."""
    found = tuple(_feature(features[column], raw=takes != "matrix") for column in features)
    task = _task(estimator, truth)
    classes = _classes(estimator, truth) if task == "classification" else ()
    return Schema(found, target or "prediction", classes, task)


def values_of(frame: pd.DataFrame, schema: Schema) -> list[list[Value]]:
    """Return the rows of a sample as they would be sent."""
    columns = [[_sent(value) for value in frame[feature.name].tolist()] for feature in schema.features]
    return [list(row) for row in zip(*columns, strict=True)]


def _feature(column: "pd.Series[Any]", raw: bool) -> Feature:
    name, type_, dtype = str(column.name), _type(column), column.dtype
    if not name.strip() or len(name) > MAX_NAME:
        raise BadTrainingData(f"each column needs a name, of at most {MAX_NAME} characters")
    categories: tuple[str, ...] = ()
    if isinstance(dtype, pd.CategoricalDtype):
        if not all(isinstance(each, str) for each in dtype.categories):
            raise BadTrainingData(f"the categories of {name!r} are no texts")
        categories = tuple(dtype.categories)
    present = [_sent(value) for value in column.dropna().tolist()]
    examples: list[Any] = [*present, EXAMPLES.get(type_, 0.0)]
    numbers = [float(value) for value in present if isinstance(value, int | float)] if type_ in ("number", "integer") else []
    return Feature(
        name,
        type_,
        examples[0],
        minimum=min(numbers, default=None),
        maximum=max(numbers, default=None),
        categories=categories,
        missing_rate=round(float(column.isna().mean()), 6),
        dtype=str(dtype) if raw else "",
    )


def _type(column: "pd.Series[Any]") -> FeatureType:
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    if pd.api.types.is_numeric_dtype(column):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    kinds = {type(value) for value in column.dropna()}
    if kinds <= {bool} and kinds:
        return "boolean"
    if kinds - {str}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise BadTrainingData(f"column {column.name!r} holds values that are no texts ({names}): make texts of them")
    return "category"


def _sent(value: Any) -> Value:
    if value is None or pd.isna(value):
        return None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return value if isinstance(value, bool | int | float | str) else str(value)


def _task(estimator: Any, truth: Any) -> Task:
    if is_regressor(estimator):
        return "regression"
    labeled = is_classifier(estimator) or getattr(estimator, "classes_", None) is not None
    fractions = truth is not None and pd.api.types.is_float_dtype(truth)
    return "regression" if fractions and not labeled else "classification"


def _classes(estimator: Any, truth: Any) -> tuple[Any, ...]:
    found = getattr(estimator, "classes_", None)
    if found is not None:
        return tuple(np.asarray(found).tolist())
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "n_clusters"):
        return tuple(range(last.n_clusters))
    if getattr(last, "_estimator_type", "") == "outlier_detector" or hasattr(last, "offset_"):
        return (-1, 1)
    return tuple(np.unique(np.asarray(truth)).tolist()) if truth is not None else ()
