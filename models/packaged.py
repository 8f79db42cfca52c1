"""The data set that comes with mldeploy: iris, with its schema, so that the first request can be checked and answered."""

from importlib import resources

import msgspec

from models.schema import Schema

PACKAGED_ESTIMATOR = "DecisionTreeClassifier"


def packaged_schema(name: str) -> Schema | None:
    """The schema of a model that may be asked before it has ever been trained."""
    file = resources.files("models") / name / "schema.json"
    return msgspec.json.decode(file.read_bytes(), type=Schema) if file.is_file() else None


def packaged_csv(name: str) -> bytes | None:
    file = resources.files("models") / name / "training.csv"
    return file.read_bytes() if file.is_file() else None
