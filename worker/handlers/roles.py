"""The roles of the workers that predict and of those that train: what they prepare, and their handlers."""

import logging
from collections.abc import Callable
from typing import Any

from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.live_workers import LiveWorkers
from jobs.wakeup import WakeupSender
from modeler.artifact import ArtifactStore, open_artifact_store
from modeler.predictor import ModelCache
from models.datasets import Datasets
from models.inventory import Inventory
from models.registry import Registry
from models.rollout import Rollout
from models.signing import signing_key
from settings import Settings
from worker.app import Role
from worker.failure_messages import describe
from worker.handlers.add_rows import AddRowsHandler
from worker.handlers.predict import PredictHandler
from worker.handlers.rollout import ChampionRollout
from worker.handlers.train import TrainHandler
from worker.handlers.trainer import TrainerHandler
from worker.load_reports import LoadReports
from worker.preload import Preloaded, preload
from worker.process import retry_until_available
from worker.store_survey import StoreSurvey
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")


class PredictRole:
    """Predicts. It loads the champions before the fork; see preload."""

    def __init__(self, settings: Settings) -> None:
        """Raises NoKey or BadStore."""
        self._settings = settings
        self._loaded = ModelCache(_artifacts(settings), settings.loaded_bytes)
        self._preloaded = Preloaded()

    def prepare(self) -> None:
        self._preloaded = preload(self._settings, self._loaded)

    def handler(self, owner: str, ledger: Ledger, wakeup_sender: WakeupSender) -> PredictHandler:  # noqa: ARG002 - required by the protocol
        known = ledger.redis, ledger.prefix, _retrying_guard(ledger)
        registry, limit = Registry(*known), self._settings.predict_limit
        failures = {**self._preloaded.failures, **self._load_after_fork()}
        self._warm()
        reports = LoadReports(ledger, registry, self._loaded, limit, failures)
        return PredictHandler(owner, ledger, registry, Rollout(*known), self._loaded, reports, limit)

    def _load_after_fork(self) -> dict[tuple[str, int], str]:
        """Loads what could not be loaded before the fork. Returns name and version -> reason of those that failed."""
        failures: dict[tuple[str, int], str] = {}
        for card in self._preloaded.after_fork:
            try:
                with time_limit(self._settings.predict_limit):
                    self._loaded.get(card)
            except (Exception, TimeLimit) as error:
                log.exception("%s version %d is not loaded yet, its first job tries again", card.name, card.version)
                failures[card.name, card.version] = describe(error)
        return failures

    def _warm(self) -> None:
        try:
            self._loaded.warm()
        except Exception:
            log.exception("a model that was loaded before the fork cannot predict in this process; its first job retries")


class TrainRole:
    def __init__(self, settings: Settings) -> None:
        """Raises NoKey or BadStore."""
        self._settings = settings
        self._artifacts = _artifacts(settings)

    def prepare(self) -> None:
        """Surveys the store before the first claim."""
        ledger = Ledger(self._settings)
        known = ledger.redis, ledger.prefix, ledger.guard
        StoreSurvey(ledger, Inventory(*known, Registry(*known), self._artifacts.store)).survey()

    def handler(self, owner: str, ledger: Ledger, wakeup_sender: WakeupSender) -> TrainerHandler:
        known = ledger.redis, ledger.prefix, _retrying_guard(ledger)
        registry, datasets, store = Registry(*known), Datasets(*known), self._artifacts.store
        inventory = Inventory(*known, registry, store)
        rollout = ChampionRollout(
            ledger, LiveWorkers(Kind.PREDICT, ledger, wakeup_sender), registry, datasets, Rollout(*known), store, inventory
        )
        adding = AddRowsHandler(datasets, store, self._settings.train_limit, self._settings.max_models)
        training = TrainHandler(registry, datasets, self._artifacts, inventory, rollout, self._settings)
        return TrainerHandler(ledger, owner, training, adding, StoreSurvey(ledger, inventory))


def role_of(kind: Kind, settings: Settings) -> Role:
    """Raises NoKey or BadStore."""
    return TrainRole(settings) if kind is Kind.TRAIN else PredictRole(settings)


def _artifacts(settings: Settings) -> ArtifactStore:
    return open_artifact_store(settings.store_location, signing_key(settings.home_path, settings.signing_key))


def _retrying_guard(ledger: Ledger) -> Callable[[Callable[[], Any]], Any]:
    return lambda call: retry_until_available(lambda: ledger.guard(call))
