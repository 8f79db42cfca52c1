"""Files that nobody needs any more: of versions that were retired, and of rows that no data set and no version has."""

from collections.abc import Iterable

from models import rows
from models.card import Card
from models.datasets import Datasets
from models.registry import Model, Registry
from models.store import Store


def remove_version(card: Card, store: Store, registry: Registry, datasets: Datasets) -> None:
    """Of one that the registry has forgotten already: its folder, and the rows that it alone had. Raises OSError."""
    store.remove(card.artifact.folder)
    remove_parts(set(card.data.parts) - parts_in_use(registry, datasets), store)


def remove_parts(parts: Iterable[str], store: Store) -> None:
    for part in parts:
        store.remove(rows.path(part))


def parts_in_use(registry: Registry, datasets: Datasets) -> set[str]:
    return datasets.parts() | {part for model in all_of(registry) for card in model.cards.values() for part in card.data.parts}


def all_of(registry: Registry) -> list[Model]:
    return [model for name in registry.names() if (model := registry.model(name))]
