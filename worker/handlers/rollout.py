"""What goes with a move of champion: the workers load the version first; and versions that nobody needs go."""

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
        """Remove versions that nobody needs, and what trainings that died for good have left behind. What cannot be done now is
        done after the next training."""
        try:
            model = self._registry.known(name)
            for version in _old(model, self._settings.keep_versions):
                if self._retire(name, version) == "retired":
                    remove_version(model.cards[version], self._store, self._inventory, self._registry, self._datasets)
                    log.info("removed %s version %d", name, version)
            self._remove_leftovers(model)
        except Exception:  # the job has ended well
            log.exception("old versions of %s are left for later", name)

    def _retire(self, name: str, version: int) -> str:
        return self._ledger.retire(f"model:{name}", version, f"{name}/{version}")

    def _remove_leftovers(self, model: Model) -> None:
        """Folders that this registry made, of versions that were never published and whose training is not open any more."""
        for folder in self._inventory.leftovers(model.name):
            if self._is_nobodys(model, folder.version):
                self._inventory.remove_leftover(model.name, folder)

    def _is_nobodys(self, model: Model, version: int) -> bool:
        known = version in model.cards or self._registry.is_announced(model.name, version)
        return not known and self._retire(model.name, version) == "missing"


def _old(model: Model, keep: int) -> list[int]:
    """All but the newest few, the one that a rollback goes back to, and those that were adopted: another registry may have made
    them, and may need them."""
    try:
        before = {alias_history.before(model.moves, list(model.cards))}
    except NothingToRollBackTo:
        before = set()
    made = sorted(set(model.cards) - model.adopted)
    return [version for version in made[:-keep] if version not in before]
