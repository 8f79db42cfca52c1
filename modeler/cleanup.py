"""Removes unused files: those of retired versions, and rows that no data set and no version refers to."""

from collections.abc import Iterable

from modeler import dataset_parts
from models.card import Card
from models.datasets import Datasets
from models.inventory import Inventory, parts_named_in
from models.registry import Model, Registry
from models.store import Store


def remove_version(card: Card, store: Store, inventory: Inventory, registry: Registry, datasets: Datasets) -> None:
    """Remove the folder of a version that is not registered any more, and the rows that only it referred to. Raises OSError."""
    inventory.remove(card.artifact.folder)
    unused = set(card.data.parts) - parts_in_use(registry, datasets)
    if unused:
        remove_parts(unused - parts_of_unknown_versions(inventory, store), store)


def parts_of_unknown_versions(inventory: Inventory, store: Store) -> set[str]:
    """Return the parts that unregistered versions refer to: parts are shared by content, also with other registries."""
    found = ((name, inventory.contents(name).unknown) for name in inventory.models())
    return {part for name, unknown in found for part in parts_named_in(store, name, unknown)}


def remove_parts(parts: Iterable[str], store: Store) -> None:
    for part in parts:
        store.remove(dataset_parts.path(part))


def parts_in_use(registry: Registry, datasets: Datasets) -> set[str]:
    return datasets.parts() | {part for model in all_of(registry) for card in model.cards.values() for part in card.data.parts}


def all_of(registry: Registry) -> list[Model]:
    return [model for name in registry.names() if (model := registry.model(name))]
