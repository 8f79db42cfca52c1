"""The data set that comes with mldeploy: iris, with its schema, so that the first request can be checked and answered."""

from importlib import resources

import msgspec

from models.schema import Schema

PACKAGED = ("iris",)  # no other name becomes a path: it may be anything that a client sent
PACKAGED_ESTIMATOR = "DecisionTreeClassifier"


def packaged_schema(name: str) -> Schema | None:
    """The schema of a model that may be asked before it has ever been trained."""
    return msgspec.json.decode(_read(name, "schema.json"), type=Schema) if name in PACKAGED else None


def packaged_csv(name: str) -> bytes | None:
    return _read(name, "training.csv") if name in PACKAGED else None


def _read(name: str, file: str) -> bytes:
    return (resources.files("models") / name / file).read_bytes()
