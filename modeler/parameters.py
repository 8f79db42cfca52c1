"""The parameters of an estimator as JSON has them, made into what scikit-learn takes: estimators by name, weights by class, and
parameters of estimators inside of it (``estimator__max_depth``)."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from modeler.errors import BadTrainingData
from models.catalog import catalog
from models.input_errors import listed
from models.schema import Schema

NESTED = "__"
PARTS = {"class", "params"}  # of an estimator as a parameter

Make = Callable[[str, Mapping[str, Any]], Any]


def set_params(estimator: Any, name: str, params: Mapping[str, Any], schema: Schema, make: Make) -> Any:
    """Set the parameters; those of an estimator inside after it. ``make`` builds an estimator by name. Raises BadTrainingData."""
    for param in sorted(params, key=lambda each: each.count(NESTED)):
        _set(estimator, name, param, _value(param, params[param], schema, make))
    return estimator


def _set(estimator: Any, name: str, param: str, value: Any) -> None:
    own, _, rest = param.partition(NESTED)
    held, entry = estimator.get_params(deep=False), catalog().get(name)
    accepted = entry.params if entry else sorted(held)
    if own not in accepted:
        close = get_close_matches(own, accepted, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has {listed(accepted)}"
        raise BadTrainingData(f"{name} has no parameter {own}: {hint}")
    if not rest:
        estimator.set_params(**{own: value})
        return
    inside = held[own]
    if not hasattr(inside, "set_params"):
        raise BadTrainingData(
            f"{own} of {name} is no estimator, so {param} cannot be set: give the estimator too, such as "
            f'"{own}": {{"class": "DecisionTreeClassifier", "params": {{"max_depth": 3}}}}'
        )
    _set(inside, type(inside).__name__, rest, value)


def _value(param: str, value: Any, schema: Schema, make: Make) -> Any:
    if not isinstance(value, dict):
        return value
    if param.rpartition(NESTED)[2] == "class_weight":
        return _by_class(value, schema)
    if not isinstance(value.get("class"), str) or not value.keys() <= PARTS or not isinstance(value.get("params", {}), dict):
        raise BadTrainingData(
            f"{param} takes a plain value or an estimator, such as "
            '{"class": "DecisionTreeClassifier", "params": {"max_depth": 3}}; weights by class are for class_weight'
        )
    return make(value["class"], value.get("params", {}))


def _by_class(weights: Mapping[str, Any], schema: Schema) -> dict[Any, float]:
    """Return the weights by label: JSON has texts for names."""
    labels = {label if isinstance(label, str) else msgspec.json.encode(label).decode(): label for label in schema.classes}
    unknown = [name for name in weights if name not in labels]
    if unknown:
        raise BadTrainingData(
            f"class_weight names classes that are not there: {listed(unknown)}; there are {listed(list(labels))}"
        )
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            raise BadTrainingData(f"class_weight of {name!r} is no number from 0")
    return {labels[name]: float(weight) for name, weight in weights.items()}
