"""What workers that predict and workers that train have and can do."""

import logging
from collections.abc import Callable
from typing import Any

from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.live_workers import Crew
from jobs.wakeup import Bell
from modeler.artifact import Shelf, open_shelf
from modeler.predictor import Loaded
from models.datasets import Datasets
from models.inventory import Inventory
from models.registry import Registry
from models.rollout import Rollout
from models.signing import signing_key
from settings import Settings
from worker.app import Trade
from worker.handlers.add_rows import Adding
from worker.handlers.predict import Predicting
from worker.handlers.rollout import Swap
from worker.handlers.train import Training
from worker.handlers.trainer import Learning
from worker.load_reports import LoadReports
from worker.preload import preload
from worker.process import patiently
from worker.store_survey import StoreSurvey

log = logging.getLogger("mldeploy.worker")


class Predict:
    """Loads the champions before the fork; see preload."""

    def __init__(self, settings: Settings) -> None:
        """Raises NoKey or BadStore."""
        self._settings = settings
        self._loaded = Loaded(_shelf(settings), settings.loaded_bytes)
        self._failures: dict[tuple[str, int], str] = {}

    def prepare(self) -> None:
        self._failures = preload(self._settings, self._loaded)

    def doer(self, owner: str, ledger: Ledger, bell: Bell) -> Predicting:  # noqa: ARG002 - of the protocol
        known = ledger.redis, ledger.prefix, _patient(ledger)
        registry, limit = Registry(*known), self._settings.predict_limit
        self._warm()
        reports = LoadReports(ledger, registry, self._loaded, limit, self._failures)
        return Predicting(owner, ledger, registry, Rollout(*known), self._loaded, reports, limit)

    def _warm(self) -> None:
        try:
            self._loaded.warm()
        except Exception:
            log.exception("a model that was loaded before the fork cannot be asked here; its first job tries again")


class Train:
    def __init__(self, settings: Settings) -> None:
        """Raises NoKey or BadStore."""
        self._settings = settings
        self._shelf = _shelf(settings)

    def prepare(self) -> None:
        """Looks the store through before anything is claimed."""
        ledger = Ledger(self._settings)
        known = ledger.redis, ledger.prefix, ledger.guard
        StoreSurvey(ledger, Inventory(*known, Registry(*known), self._shelf.store)).make()

    def doer(self, owner: str, ledger: Ledger, bell: Bell) -> Learning:
        known = ledger.redis, ledger.prefix, _patient(ledger)
        registry, datasets, store = Registry(*known), Datasets(*known), self._shelf.store
        inventory = Inventory(*known, registry, store)
        swap = Swap(ledger, Crew(Kind.PREDICT, ledger, bell), registry, datasets, Rollout(*known), store, inventory)
        adding = Adding(datasets, store, self._settings.train_limit, self._settings.max_models)
        training = Training(registry, datasets, self._shelf, inventory, swap, self._settings)
        return Learning(ledger, owner, training, adding, StoreSurvey(ledger, inventory))


def trade_of(kind: Kind, settings: Settings) -> Trade:
    """Raises NoKey or BadStore."""
    return Train(settings) if kind is Kind.TRAIN else Predict(settings)


def _shelf(settings: Settings) -> Shelf:
    return open_shelf(settings.store_location, signing_key(settings.home_path, settings.signing_key))


def _patient(ledger: Ledger) -> Callable[[Callable[[], Any]], Any]:
    return lambda call: patiently(lambda: ledger.guard(call))
