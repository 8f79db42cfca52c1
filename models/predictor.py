"""A loaded version that predicts, and the few that a process keeps loaded."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from models import artifact
from models.card import Card
from models.schema import Schema

MOST_LOADED = 8

Label = str | int | float | bool


class Predictor:
    """One version's estimator, on one thread: a forest on several is slower for small batches."""

    def __init__(self, schema: Schema, estimator: Any) -> None:
        self.schema = schema
        self._estimator = _single_threaded(estimator)

    def predict(self, rows: list[list[float]]) -> list[Label]:
        """Rows in the schema's order of features; a label per row."""
        labels: list[Label] = np.asarray(self._estimator.predict(np.asarray(rows, dtype=np.float64))).tolist()
        return labels

    def warm(self) -> None:
        """Predict the schema's example, so that what is made at the first call is made."""
        self.predict([[feature.example for feature in self.schema.features]])

    def probabilities(self, rows: list[list[float]]) -> list[dict[str, float]]:
        """Per row the probability of each class, by the class's name."""
        classes = [str(label) for label in self._estimator.classes_]
        table = self._estimator.predict_proba(np.asarray(rows, dtype=np.float64))
        return [dict(zip(classes, row, strict=True)) for row in table.tolist()]


class Loaded:
    """The predictors of this process, one load per version, the least recently used out first."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._predictors: OrderedDict[tuple[str, int], Predictor] = OrderedDict()

    def get(self, card: Card) -> Predictor:
        """Raises what artifact.load raises."""
        key = (card.name, card.version)
        if key not in self._predictors:
            self._predictors[key] = Predictor(card.schema, artifact.load(self._store, card))
        self._predictors.move_to_end(key)
        while len(self._predictors) > MOST_LOADED:
            self._predictors.popitem(last=False)
        return self._predictors[key]

    def warm(self) -> None:
        """All that are loaded."""
        for predictor in self._predictors.values():
            predictor.warm()


def _single_threaded(estimator: Any) -> Any:
    if hasattr(estimator, "get_params"):
        jobs = {name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"}
        estimator.set_params(**jobs)
    return estimator
