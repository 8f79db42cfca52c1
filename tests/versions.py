"""The versions of some pieces, in their store and over their API."""

from pathlib import Path
from typing import Any

from mldeploy.client import Client
from modeler import artifact
from modeler.artifact import ArtifactStore
from tests.crowd import key_of
from tests.processes import Pieces

BIG: dict[str, Any] = {"estimator": "MLPClassifier", "params": {"hidden_layer_sizes": [500, 500], "max_iter": 5}}  # 8 MB


def store_of(pieces: Pieces) -> Path:
    return Path(pieces.settings.store_location)


def shelf_of(pieces: Pieces) -> ArtifactStore:
    return artifact.open_artifact_store(pieces.settings.store_location, key_of(pieces))


def folders(pieces: Pieces, name: str = "iris") -> list[str]:
    return sorted(folder.name for folder in (store_of(pieces) / name).iterdir())


def published(pieces: Pieces, name: str = "iris") -> list[str]:
    versions = Client(pieces.url).model(name)["versions"]
    return sorted(card["artifact"]["folder"].partition("/")[2] for card in versions)
