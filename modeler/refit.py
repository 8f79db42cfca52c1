"""The version in service, trained again as it was, on the same rows, for another scikit-learn."""

from modeler import dataset, dataset_parts, train
from modeler.artifact import ArtifactStore
from modeler.train import Made, Plan
from models.card import Card
from models.datasets import Part
from models.options import LOWER_IS_BETTER, Metric


class CannotRefit(ValueError):
    """The version cannot be trained again, or is worse than it was; the message says why."""


def refit(card: Card, artifacts: ArtifactStore, allowed: str) -> Made:
    """Raises CannotRefit, rows.LostRows, BadTrainingData or OSError."""
    if card.origin == "imported":
        raise CannotRefit(
            f"{card.name} version {card.version} was brought in: bring in one that was saved with this scikit-learn"
        )
    table = dataset_parts.read(artifacts.store, [Part(part, 0, 0) for part in card.data.parts])
    ready = dataset.make(
        table,
        card.schema.target,
        card.data.weight,
        card.schema.task,
        card.unknown,
        test_share=card.data.test_share,
        only=card.schema,
    )
    return train.make(ready, Plan(card.estimator, card.params, 0.0, train.metric_of(card), allowed), 0.0, lambda *_: None)


def save(made: Made, card: Card, artifacts: ArtifactStore, version: int, folder: str, tolerance: float) -> Card:
    """``folder``: see Inventory.begin. Raises CannotRefit if it is worse than it was by more than ``tolerance``, a share of the
    metric."""
    data = train.data_of(made.dataset, card.data.dataset, card.data.parts)
    new = train.save(made, artifacts, card.name, version, f"refit of version {card.version}", folder, data, "refit")
    metric = train.metric_of(card)
    was, is_ = card.metrics.value(metric), new.metrics.value(metric)
    if was is None or is_ is None or _worse_by(metric, is_, was) > tolerance * abs(was):
        artifacts.store.remove(new.artifact.folder)
        raise CannotRefit(f"{card.name}: {metric} was {was} and would be {is_} on the same rows")
    return new


def _worse_by(metric: Metric, is_: float, was: float) -> float:
    return is_ - was if metric in LOWER_IS_BETTER else was - is_
