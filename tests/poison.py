"""A model that does to its worker what the row says: the worst estimator that a user could bring."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from jobs.ledger import Ledger
from modeler import artifact
from modeler.artifact import open_artifact_store
from models.card import Card, Data, Metrics
from models.feature import Feature
from models.registry import Registry
from models.schema import Schema
from models.signing import signing_key
from settings import Settings
from tests.processes import Pieces
from tests.service import Service

DEEDS = {"work": 0.0, "kill": 1.0, "segfault": 2.0, "memory": 3.0, "raise": 4.0, "hang": 5.0, "exit": 6.0, "c-hang": 7.0}
FEATURES = ("deed", "number", "seconds")


def row(number: int, deed: str = "work", seconds: float = 0.0) -> dict[str, float]:
    return {"deed": DEEDS[deed], "number": float(number), "seconds": seconds}


def expected(number: int) -> int:
    return number * 7 % 1000


class Poison(BaseEstimator):  # type: ignore[misc]
    """Predicts ``expected(number)`` unless the row names another deed. Every row is logged before it is worked on."""

    def __init__(self, log: str) -> None:
        self.log = log

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        with Path(self.log).open("a") as log:
            log.write("".join(f"{int(number)}\n" for number in rows[:, 1]))
        for deed, _, seconds in rows:
            time.sleep(seconds)
            do(deed)
        return np.array([expected(int(number)) for number in rows[:, 1]])


def do(deed: float) -> None:
    if deed == DEEDS["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == DEEDS["segfault"]:
        ctypes.string_at(0)
    elif deed == DEEDS["memory"]:
        raise MemoryError
    elif deed == DEEDS["raise"]:
        raise ValueError("this row is bad")
    elif deed == DEEDS["exit"]:
        os._exit(3)
    elif deed == DEEDS["hang"]:
        while True:
            time.sleep(0.1)
    elif deed == DEEDS["c-hang"]:
        sum(range(10**12))  # C code during which no Python signal handler runs


def publish(pieces: Pieces, name: str = "poison", version: int = 1) -> Path:
    """Register a version, as a finished training does. Returns its log of executions."""
    log = pieces.folder / f"{name}-executions.log"
    log.touch()
    schema = Schema(tuple(Feature(feature, "number", 0.0) for feature in FEATURES), "answer", (0,))
    register(pieces.settings, pieces.ledger, name, version, Poison(str(log)), schema)
    return log


def register(settings: Settings, ledger: Ledger, name: str, version: int, estimator: Any, schema: Schema) -> Card:
    """Register a version as the champion."""
    artifacts = open_artifact_store(settings.store_location, signing_key(settings.home_path, settings.signing_key))
    model = artifact.dump(estimator)
    card = Card(
        name=name,
        version=version,
        created_at="2026-01-01T00:00:00.000Z",
        job_id="",
        estimator=type(estimator).__name__,
        params={},
        schema=schema,
        data=Data(name, "", (), 0, 0, 0.2),
        metrics=Metrics(0),
        artifact=artifact.describe(f"{name}/{version}-1", model),
        libraries={"scikit-learn": sklearn.__version__},
        python="",
        seconds=0.0,
    )
    artifact.write(artifacts, card, model)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard)
    champion = registry.resolve(name)
    ledger.redis.hset(ledger.prefix + "models", name, 1)
    assert registry.apply(registry.publication(card, promote=True, champion=champion))
    return card


def with_poison(service: Service) -> None:
    """Register the poison model unless it exists."""
    ledger = service.ledger
    if Registry(ledger.redis, ledger.prefix, ledger.guard).model("poison"):
        return
    schema = Schema(tuple(Feature(feature, "number", 0.0) for feature in FEATURES), "answer", (0,))
    register(service.settings, ledger, "poison", 1, Poison(str(service.home / "executions.log")), schema)


@contextmanager
def without_workers(settings: Settings, folder: Path) -> Iterator[Pieces]:
    """Start all parts except workers."""
    pieces = Pieces(settings, folder)
    try:
        pieces.redis()
        publish(pieces)
        pieces.reconciler()
        pieces.api()
        yield pieces
    finally:
        pieces.stop()
