"""Trains a version again with the same parameters and rows, for another scikit-learn release."""

from modeler import dataset, dataset_parts, split, train
from modeler.artifact import ArtifactStore
from modeler.dataset_parts import LostRows
from modeler.train import Made, Plan
from models.card import Card
from models.datasets import Part
from models.options import LOWER_IS_BETTER, Metric


class CannotRefit(ValueError):
    """The version cannot be trained again, or the new one is worse; the message says why."""


def refit(card: Card, artifacts: ArtifactStore, allowed: str) -> Made:
    """Train the version again. Raises CannotRefit, BadTrainingData or OSError."""
    if card.origin == "imported":
        raise CannotRefit(f"version {card.version} was imported: import a model that was saved with this scikit-learn")
    try:
        table = dataset_parts.read(artifacts.store, [Part(part, 0, 0) for part in card.data.parts])
    except LostRows:
        raise CannotRefit(
            f"version {card.version} was trained on rows that have been deleted, or are lost: train the model again"
        ) from None
    ready = dataset.make(
        table,
        card.schema.target,
        card.data.weight,
        card.schema.task,
        card.unknown,
        only=card.schema,
        split=split.of(card.data),
    )
    planned = Plan(
        card.estimator, card.params, 0.0, train.metric_of(card), allowed, train.metric_params_of(card), train.threshold_of(card)
    )
    return train.make(ready, planned, 0.0, lambda *_: None)


def save(made: Made, card: Card, artifacts: ArtifactStore, version: int, folder: str, tolerance: float) -> Card:
    """Save the version to ``folder`` (see Inventory.begin). Raises CannotRefit if its metric is worse than the card's by more
    than ``tolerance``, a share of the metric."""
    data = train.data_of(made.dataset, card.data.dataset, card.data.parts)
    new = train.save(made, artifacts, card.name, version, f"refit of version {card.version}", folder, data, "refit")
    metric = train.metric_of(card)
    was, is_ = card.metrics.value(metric), new.metrics.value(metric)
    if was is None or is_ is None or _worse_by(metric, is_, was) > tolerance * abs(was):
        artifacts.store.remove(new.artifact.folder)
        raise CannotRefit(f"{metric} was {was} and would be {is_} on the same rows")
    return new


def _worse_by(metric: Metric, is_: float, was: float) -> float:
    return is_ - was if metric in LOWER_IS_BETTER else was - is_
