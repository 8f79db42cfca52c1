"""What accompanies a move of champion: the workers load the version first, and unneeded versions are removed afterwards."""

import logging

from jobs.ledger import Ledger
from jobs.live_workers import LiveWorkers
from modeler.cleanup import remove_version
from models import alias_history
from models.alias_history import NothingToRollBackTo
from models.card import Card
from models.datasets import Datasets
from models.inventory import Inventory
from models.registry import Model, Registry
from models.rollout import Rollout
from models.store import Store

log = logging.getLogger("mldeploy.worker")


class ChampionRollout:
    def __init__(
        self,
        ledger: Ledger,
        live_workers: LiveWorkers,
        registry: Registry,
        datasets: Datasets,
        rollout: Rollout,
        store: Store,
        inventory: Inventory,
    ) -> None:
        self._settings = ledger.settings
        self._ledger = ledger
        self._live_workers = live_workers
        self._registry = registry
        self._datasets = datasets
        self._rollout = rollout
        self._store = store
        self._inventory = inventory

    def await_loaded(self, card: Card) -> None:
        """Raises CannotServe."""
        self._rollout.await_loaded(card, self._live_workers, self._settings.swap_patience)

    def tidy(self, name: str) -> None:
        """Removes unneeded versions, and the folders of trainings that failed for good. What fails now is repeated after the next
        training."""
        try:
            model = self._registry.get(name)
            for version in _outdated(model, self._settings.keep_versions):
                if self._retire(name, version) == "retired":
                    remove_version(model.cards[version], self._store, self._inventory, self._registry, self._datasets)
                    log.info("removed %s version %d", name, version)
            self._remove_leftovers(model)
        except Exception:  # the job itself has succeeded
            log.exception("old versions of %s could not be removed; the next training retries", name)

    def _retire(self, name: str, version: int) -> str:
        return self._ledger.retire(f"model:{name}", version, f"{name}/{version}")

    def _remove_leftovers(self, model: Model) -> None:
        """Removes the folders of versions of this registry that were never published and are not in training."""
        for folder in self._inventory.leftovers(model.name):
            if self._is_orphan(model, folder.version):
                self._inventory.remove_leftover(model.name, folder)

    def _is_orphan(self, model: Model, version: int) -> bool:
        known = version in model.cards or self._registry.is_announced(model.name, version)
        return not known and self._retire(model.name, version) == "missing"


def _outdated(model: Model, keep: int) -> list[int]:
    """The versions to remove: all but the newest ``keep``, the target of a rollback, and adopted ones, which another registry may
    have made and may need."""
    try:
        before = {alias_history.rollback_target(model.history, list(model.cards))}
    except NothingToRollBackTo:
        before = set()
    made = sorted(set(model.cards) - model.adopted)
    return [version for version in made[:-keep] if version not in before]
