"""A loaded version that predicts, and those that a process keeps loaded."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler import artifact
from modeler.artifact import ArtifactStore
from models.card import Card
from models.results import Label
from models.schema import Schema


class NotFinite(ValueError):
    """The model predicted infinity, or no number at all."""


class Predictor:
    """One version's estimator, on one thread: a forest on several is slower for small batches. ``as_frame``: it wants its rows as
    a data frame in the words of the training data, and not as a matrix of numbers."""

    def __init__(self, schema: Schema, estimator: Any, as_frame: bool = False) -> None:
        self.schema = schema
        self._estimator = _single_threaded(estimator)
        self._as_frame = as_frame

    def predict(self, rows: list[list[float]]) -> list[Label]:
        """Rows in the schema's order of features; a label per row. Raises NotFinite, or whatever the model raises."""
        found: list[Label] = self.labels(np.asarray(rows, dtype=np.float64)).tolist()
        return found

    def probabilities(self, rows: list[list[float]]) -> list[dict[str, float]]:
        """Per row the probability of each class, by the class's name."""
        table = self.table(np.asarray(rows, dtype=np.float64))
        assert table is not None, "asked only of those that have probabilities"
        names = [str(label).lower() if isinstance(label, bool) else str(label) for label in self.classes]  # as JSON spells them
        return [dict(zip(names, row, strict=True)) for row in table.tolist()]

    def labels(self, features: NDArray[np.float64]) -> NDArray[Any]:
        """(rows,) for (rows, features)."""
        labels = np.asarray(self._estimator.predict(self._input(features)))
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise NotFinite("the model predicted a value that is not finite")
        return labels.ravel() if labels.ndim > 1 and labels.shape[1] == 1 else labels

    def table(self, features: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """(rows, classes) of probabilities; None if the estimator has none."""
        if not hasattr(self._estimator, "predict_proba"):
            return None
        return np.asarray(self._estimator.predict_proba(self._input(features)))

    @property
    def classes(self) -> list[Any]:
        """Of the columns of ``table``."""
        found = getattr(self._estimator, "classes_", None)
        return [] if found is None or self.schema.task == "regression" else np.asarray(found).tolist()

    def warm(self) -> None:
        """Predict the schema's example, so that what is made at the first call is made."""
        self.predict([self.example()])

    def example(self) -> list[float]:
        return [float(feature.encode([feature.example])[0]) for feature in self.schema.features]

    def _input(self, features: NDArray[np.float64]) -> Any:
        if not self._as_frame:
            return features
        columns = zip(self.schema.features, features.T, strict=True)
        return pd.DataFrame({feature.name: [feature.decode(number) for number in column] for feature, column in columns})


def load(artifacts: ArtifactStore, card: Card) -> Predictor:
    """Raises what artifact.load raises."""
    return Predictor(card.schema, artifact.load(artifacts, card), as_frame=card.takes == "frame")


class ModelCache:
    """The predictors of this process, one load per version; of more than ``most`` bytes (of their files) the least recently used
    go, but never the last one."""

    def __init__(self, artifacts: ArtifactStore, most: int) -> None:
        self._artifacts = artifacts
        self._most = most
        self._predictors: OrderedDict[tuple[str, int], tuple[Predictor, int]] = OrderedDict()

    def get(self, card: Card) -> Predictor:
        """Raises what artifact.load raises."""
        key = (card.name, card.version)
        if key not in self._predictors:
            self._make_room(card.artifact.bytes)
            self._predictors[key] = load(self._artifacts, card), card.artifact.bytes
        self._predictors.move_to_end(key)
        return self._predictors[key][0]

    def warm(self) -> None:
        """All that are loaded."""
        for predictor, _ in self._predictors.values():
            predictor.warm()

    def __contains__(self, card: Card) -> bool:
        return self.has(card.name, card.version)

    def has(self, name: str, version: int) -> bool:
        return (name, version) in self._predictors

    def _make_room(self, size: int) -> None:
        while self._predictors and sum(each for _, each in self._predictors.values()) + size > self._most:
            self._predictors.popitem(last=False)


def _single_threaded(estimator: Any) -> Any:
    if hasattr(estimator, "get_params"):
        jobs = {name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"}
        estimator.set_params(**jobs)
    return estimator
