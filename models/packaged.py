"""The data set that comes with mldeploy: iris, with its schema, so that requests can be validated before any training."""

from importlib import resources

import msgspec

from models.schema import Schema

PACKAGED = ("iris",)  # only these names become paths: others come from clients
PACKAGED_ESTIMATOR = "DecisionTreeClassifier"


def packaged_schema(name: str) -> Schema | None:
    """Return the schema of a model that takes predictions before its first training; None if it has none."""
    return msgspec.json.decode(_read(name, "schema.json"), type=Schema) if name in PACKAGED else None


def packaged_csv(name: str) -> bytes | None:
    """Return the training data; None if there is no packaged data set of this name."""
    return _read(name, "training.csv") if name in PACKAGED else None


def _read(name: str, file: str) -> bytes:
    return (resources.files("models") / name / file).read_bytes()
