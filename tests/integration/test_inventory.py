"""The registry knows the folders that it wrote to the store and removes nothing else."""

from pathlib import Path

import pytest

from jobs.ledger import Ledger
from models.inventory import Inventory, NumberTaken
from models.registry import Registry
from models.store import FolderStore

FILES = {"model.joblib": b"x", "manifest.json": b"{}"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def inventory(ledger: Ledger, store: FolderStore) -> Inventory:
    known = ledger.redis, ledger.prefix, ledger.guard
    return Inventory(*known, Registry(*known), store)


def test_leftovers_of_a_dead_attempt_are_removed_by_the_next(inventory: Inventory, store: FolderStore) -> None:
    first, other = inventory.begin("iris", 3, 1), inventory.begin("iris", 13, 1)
    store.write(first, FILES)
    (store.root / "iris" / ".2-1-00000000.0badcafe").mkdir()  # somebody else's, half written
    store.write(other, FILES)
    inventory.begin("iris", 3, 4)
    assert store.names("iris") == [".2-1-00000000.0badcafe", other.partition("/")[2]]


def test_stale_attempt_does_not_remove_a_later_one(inventory: Inventory, store: FolderStore) -> None:
    """It was frozen while the next attempt was published."""
    later = inventory.begin("iris", 3, 2)
    store.write(later, FILES)
    inventory.begin("iris", 3, 1)
    assert store.names("iris") == [later.partition("/")[2]]


def test_version_number_of_another_registry_is_never_reused(inventory: Inventory, store: FolderStore) -> None:
    store.write("iris/3-1-0badcafe", FILES)
    with pytest.raises(NumberTaken, match="mldeploy models adopt iris"):
        inventory.begin("iris", 3, 1)
    with pytest.raises(NumberTaken, match="the highest is 3"):  # the first of a registry that has lost what it knew
        inventory.begin("iris", 2, 1)
    assert inventory.begin("iris", 4, 1)
    assert inventory.leftovers("iris") == []
