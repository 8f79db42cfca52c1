"""A model that takes its time and then returns the process that predicts."""

import os
import time
from typing import Any

from sklearn.base import BaseEstimator

from models.feature import Feature
from models.schema import Schema
from tests.poison import register
from tests.processes import Pieces


class Witness(BaseEstimator):  # type: ignore[misc]
    def predict(self, rows: Any) -> list[int]:
        time.sleep(float(rows[0, 0]))
        return [os.getpid()] * len(rows)


def publish(pieces: Pieces) -> None:
    schema = Schema((Feature("seconds", "number", 0.0),), "process", (0,))
    register(pieces.settings, pieces.ledger, "witness", 1, Witness(), schema)
