"""Registers versions again that are in the store but not in the registry, with their signed cards."""

from typing import NamedTuple

from modeler import dataset_parts
from modeler.artifact import ArtifactStore, CorruptArtifact, read_card
from modeler.dataset_parts import LostRows
from models.card import Card
from models.datasets import DatasetRecord, Datasets, Found, Part
from models.inventory import Inventory
from models.registry import Registry, TooManyModels


class Verdict(NamedTuple):
    """The card of a folder that can be adopted, or the reason why it cannot."""

    folder: str
    card: Card | None = None
    refused: str = ""


def examine(artifacts: ArtifactStore, registry: Registry, inventory: Inventory, name: str) -> list[Verdict]:
    """Return a verdict for each folder of a model that the registry does not know, by version. Raises OSError."""
    model = registry.model(name)
    taken = set(model.cards) if model else set()
    verdicts = []
    for folder in sorted(inventory.contents(name).unknown, key=lambda found: (found.version, -found.attempt)):
        verdict = _examine_folder(artifacts, name, folder.entry, folder.version, taken)
        taken |= {verdict.card.version} if verdict.card else set()
        verdicts.append(verdict)
    return verdicts


def _examine_folder(artifacts: ArtifactStore, name: str, entry: str, version: int, taken: set[int]) -> Verdict:
    place = f"{name}/{entry}"
    if entry.startswith("."):
        return Verdict(place, None, "it was never finished")
    try:
        card = read_card(artifacts, place)
    except CorruptArtifact as error:
        return Verdict(place, None, str(error))
    if (card.name, card.version) != (name, version):
        return Verdict(place, None, f"it is {card.name} version {card.version}, moved to another place")
    if version in taken:
        return Verdict(place, None, f"version {version} of {name} is another one here")
    return Verdict(place, card)


def adopt(registry: Registry, verdict: Verdict) -> Verdict:
    """Register the version. Returns the verdict, or a new one if it was refused."""
    assert verdict.card
    try:
        adopted = registry.adopt(verdict.card)
    except TooManyModels as error:
        return Verdict(verdict.folder, None, str(error))
    return (
        verdict
        if adopted
        else Verdict(verdict.folder, None, f"version {verdict.card.version} was registered meanwhile: try again")
    )


def restore_dataset(artifacts: ArtifactStore, datasets: Datasets, card: Card) -> DatasetRecord | None:
    """Restore the data set of a version, unless its name is taken or its rows are lost or damaged. Raises OSError."""
    data = card.data
    if not data.parts or not data.dataset or datasets.find(data.dataset).record:
        return None
    try:
        contents = [artifacts.store.read(dataset_parts.path(part)) for part in data.parts]
        table = dataset_parts.read(artifacts.store, [Part(part, 0, 0) for part in data.parts])
    except (FileNotFoundError, LostRows):
        return None
    counts = [len(dataset_parts.read(artifacts.store, [Part(part, 0, 0)]).frame) for part in data.parts]
    parts = [Part(sha, count, len(content)) for sha, count, content in zip(data.parts, counts, contents, strict=True)]
    first = dataset_parts.first(data.dataset, table, card.schema.target, data.weight, data.test_share, parts[0])
    record = DatasetRecord(**{**{name: getattr(first, name) for name in first.__struct_fields__}, "parts": tuple(parts)})
    return record if datasets.apply(Found(None, ""), record) else None
