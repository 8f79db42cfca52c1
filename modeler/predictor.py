"""Predicts with a loaded version, and caches the loaded versions of a process."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler import artifact
from modeler.artifact import ArtifactStore
from modeler.raw_frame import frames
from models.card import Card, Takes
from models.feature import Value
from models.results import Label
from models.schema import Schema

Rows = Sequence[Sequence[Value]]  # in the order of the schema's features


class NotFinite(ValueError):
    """The model predicted infinity or NaN."""


class Predictor:
    """One version's estimator, on one thread: a forest on several is slower for small batches. ``takes``: see Card."""

    def __init__(self, schema: Schema, estimator: Any, takes: Takes = "matrix") -> None:
        self.schema = schema
        self._estimator = _single_threaded(estimator)
        self._takes = takes
        self._columns = _columns(schema, estimator)

    def predict(self, rows: Rows) -> list[Label]:
        """Predict a label per row, with features in the schema's order. Raises NotFinite, or whatever the model raises."""
        found: list[Label] = self.labels(self._features(rows)).tolist()
        return found

    def probabilities(self, rows: Rows) -> list[dict[str, float]]:
        """Return for each row the probabilities by class name. The model must have probabilities."""
        table = self.table(self._features(rows))
        assert table is not None, "the model has no probabilities"
        names = [str(label).lower() if isinstance(label, bool) else str(label) for label in self.classes]  # as JSON spells them
        return [dict(zip(names, row, strict=True)) for row in table.tolist()]

    def labels(self, features: NDArray[Any] | Rows) -> NDArray[Any]:
        """Predict labels, (rows,), for (rows, features), which are lists of values if the schema is raw. Raises NotFinite."""
        labels = self._asked(self._estimator.predict, features)
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise NotFinite("the model predicted a value that is not finite")
        return labels.ravel() if labels.ndim > 1 and labels.shape[1] == 1 else labels

    def table(self, features: NDArray[Any] | Rows) -> NDArray[np.float64] | None:
        """Return probabilities, (rows, classes); None if the estimator has none."""
        if not hasattr(self._estimator, "predict_proba"):
            return None
        found = self._asked(self._estimator.predict_proba, features)
        if self._columns is None:
            return found
        spread = np.zeros((len(found), len(self.schema.classes)))
        spread[:, self._columns] = found
        return spread

    @property
    def classes(self) -> list[Any]:
        """The classes of the columns of ``table``."""
        if self._columns is not None:
            return list(self.schema.classes)
        found = getattr(self._estimator, "classes_", None)
        return [] if found is None or self.schema.task == "regression" else np.asarray(found).tolist()

    def warm(self) -> None:
        """Predict the schema's example, so that later calls need no first-call initialization."""
        self.predict([self.example()])

    def example(self) -> list[Any]:
        return [feature.encode([feature.example])[0] for feature in self.schema.features]

    def _features(self, rows: Rows) -> NDArray[Any] | Rows:
        """Return the feature matrix, as modeler.dataset.encode makes it: a text that is missing has no words. Raw rows stay as
        they are."""
        if self.schema.is_raw:
            return rows
        if not self.schema.texts:
            return np.asarray(rows, dtype=np.float64)
        matrix = np.array(rows, dtype=object).reshape(len(rows), len(self.schema.features))
        for place in self.schema.texts:
            matrix[:, place] = [text or "" for text in matrix[:, place]]
        return matrix

    def _asked(self, method: Callable[[Any], Any], features: Any) -> NDArray[Any]:
        if not self.schema.is_raw:
            return np.asarray(method(self._input(features)))
        parts = frames(self.schema.features, features)
        found = [np.asarray(method(self._shaped(frame))) for _, frame in parts]
        if len(found) == 1:
            return found[0]
        if any(len(each) != len(frame) for each, (_, frame) in zip(found, parts, strict=True)):
            raise ValueError("the model gives another number of predictions than it gets rows")
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return np.asarray(np.concatenate(found)[order])

    def _shaped(self, frame: pd.DataFrame) -> Any:
        return frame if self._takes == "frame" else frame.iloc[:, 0]

    def _input(self, features: NDArray[Any]) -> Any:
        if self._takes == "matrix":
            return features
        columns = zip(self.schema.features, features.T, strict=True)
        return pd.DataFrame({feature.name: [feature.decode(number) for number in column] for feature, column in columns})


def load(artifacts: ArtifactStore, card: Card) -> Predictor:
    """Load a version. Raises what artifact.load raises."""
    return Predictor(card.schema, artifact.load(artifacts, card), card.takes)


class ModelCache:
    """The loaded predictors of this process. Above ``max_bytes`` (of the models' files) the least recently used are evicted, but
    never the last one."""

    def __init__(self, artifacts: ArtifactStore, max_bytes: int) -> None:
        self._artifacts = artifacts
        self._max_bytes = max_bytes
        self._predictors: OrderedDict[tuple[str, int], tuple[Predictor, int]] = OrderedDict()

    def get(self, card: Card) -> Predictor:
        """Return a predictor, loaded if necessary. Raises what artifact.load raises."""
        key = (card.name, card.version)
        if key not in self._predictors:
            self._make_room(card.artifact.bytes)
            self._predictors[key] = load(self._artifacts, card), card.artifact.bytes
        self._predictors.move_to_end(key)
        return self._predictors[key][0]

    def warm(self) -> None:
        """Warm all loaded predictors."""
        for predictor, _ in self._predictors.values():
            predictor.warm()

    def __contains__(self, card: Card) -> bool:
        return self.has(card.name, card.version)

    def has(self, name: str, version: int) -> bool:
        return (name, version) in self._predictors

    def _make_room(self, size: int) -> None:
        while self._predictors and sum(each for _, each in self._predictors.values()) + size > self._max_bytes:
            self._predictors.popitem(last=False)


def _columns(schema: Schema, estimator: Any) -> list[int] | None:
    """Return the places of the estimator's classes among the schema's, if the schema has more: no training row had the others."""
    found = getattr(estimator, "classes_", None)
    if schema.task == "regression" or found is None or not hasattr(estimator, "predict_proba"):
        return None
    classes, known = np.asarray(found).tolist(), list(schema.classes)
    if classes == known or not set(classes) < set(known):
        return None
    return [known.index(label) for label in classes]


def _single_threaded(estimator: Any) -> Any:
    if hasattr(estimator, "get_params"):
        jobs = {name: 1 for name in estimator.get_params() if name.split("__")[-1] == "n_jobs"}
        estimator.set_params(**jobs)
    return estimator
