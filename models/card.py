"""A version's card: what it takes, how it was made, how it was judged, and which bytes it is."""

from typing import Literal

import msgspec
from msgspec import Struct

from models.schema import Schema

CHAMPION = "champion"


class Metrics(Struct, frozen=True):
    """Judged on ``rows`` test rows, by scikit-learn's names."""

    rows: int
    accuracy: float
    balanced_accuracy: float
    f1_macro: float


class Artifact(Struct, frozen=True):
    """``folder`` is relative to the store; ``sha256`` is of the model's file, checked before it is unpickled."""

    folder: str
    sha256: str
    bytes: int


class Card(Struct, frozen=True):
    name: str
    version: int
    created_at: str
    job_id: str
    estimator: str
    schema: Schema
    training_rows: int
    data_sha256: str
    metrics: Metrics
    artifact: Artifact
    scikit_learn: str
    python: str
    format: Literal[1] = 1

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


def from_json(text: bytes | str) -> Card:
    return msgspec.json.decode(text, type=Card)
