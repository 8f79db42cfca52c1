"""The estimators that may be trained: scikit-learn's classifiers and regressors for tables, and those that the operator allows.

The API validates requests with it, so it knows their names and parameters without importing scikit-learn."""

from difflib import get_close_matches
from functools import cache
from importlib import resources

import msgspec
from msgspec import Struct

from models.input_errors import InputError, InvalidInput, listed
from models.options import AUTO, TrainOptions
from models.schema import Task


class Entry(Struct, frozen=True):
    """Where an estimator's class is, what it is for, and its parameters."""

    module: str
    task: Task
    params: list[str]


@cache
def catalog() -> dict[str, Entry]:
    """Return the entries by class name."""
    return msgspec.json.decode((resources.files("models") / "estimators.json").read_bytes(), type=dict[str, Entry])


def allowed_classes(setting: str) -> dict[str, str]:
    """Parse the comma-separated setting into dotted paths by name: ``lightgbm.LGBMClassifier`` is also LGBMClassifier."""
    dotted = [name.strip() for name in setting.split(",") if name.strip()]
    return {name: path for path in dotted for name in (path, path.rpartition(".")[2])}


def check_estimator(options: TrainOptions, setting: str) -> None:
    """Check that the estimator may be trained and has these parameters. Raises InvalidInput."""
    name = options.estimator
    if name in ("", AUTO):
        if options.params:
            raise InvalidInput([InputError("/params", "parameters are of an estimator: name it")])
        return
    entry = catalog().get(name)
    if entry is None and name not in allowed_classes(setting):
        raise InvalidInput([InputError("/estimator", _unknown_estimator(name, setting))])
    if entry is None:
        return  # only the worker can check the parameters of an allowed class
    if options.task and options.task != entry.task:
        raise InvalidInput([InputError("/task", f"{name} is for {entry.task}")])
    errors = [
        InputError(f"/params/{param}", _unknown_param(name, param, entry))
        for param in options.params
        if param.partition("__")[0] not in entry.params  # the worker checks what is inside of an estimator
    ]
    errors += [
        InputError(f"/params/{param}", 'expected a plain value, or an estimator such as {"class": "DecisionTreeClassifier"}')
        for param, value in options.params.items()
        if isinstance(value, dict) and param.rpartition("__")[2] != "class_weight" and not isinstance(value.get("class"), str)
    ]
    if errors:
        raise InvalidInput(errors)


def _unknown_estimator(name: str, setting: str) -> str:
    names = [AUTO, *catalog(), *allowed_classes(setting)]
    close = get_close_matches(name, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(names)}"
    return f"there is no estimator {name} that may be trained: {hint} (MLDEPLOY_ESTIMATORS allows more)"


def _unknown_param(name: str, param: str, entry: Entry) -> str:
    close = get_close_matches(param, entry.params, n=1)
    return f"{name} has no such parameter: " + (f"did you mean {close[0]}?" if close else f"it has {listed(entry.params)}")
