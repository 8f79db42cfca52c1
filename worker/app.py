"""The Celery app of a worker: one task, ``serve(bell)``, on prefork."""

import logging
import mmap
import os
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, signals
from celery.worker.request import Request
from threadpoolctl import threadpool_limits

from jobs.bell import TASK, Bell, make_celery
from jobs.crew import Crew
from jobs.job import Kind
from jobs.ledger import Ledger
from models.artifact import Shelf, open_shelf
from models.datasets import Datasets
from models.predictor import Loaded
from models.registry import Registry
from models.rollout import Rollout
from models.signing import signing_key
from settings import Settings
from tether import tie_to_parent
from worker.adding import Adding
from worker.keeper import Keeper, new_node, owner_of
from worker.learning import Learning
from worker.predicting import Predicting
from worker.preload import preload
from worker.process import Doer, Process, patiently
from worker.swap import Swap
from worker.training import Training

log = logging.getLogger("mldeploy.worker")

START = 120.0  # seconds that a new process gets; it asks each loaded model once


class Flag:
    """A flag that the parent raises and its children see: a byte of shared memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def is_set(self) -> bool:
        return self._memory[0] == 1


def make_worker_app(settings: Settings, kind: Kind) -> Celery:
    """Loads the champions; see preload. Raises LedgerUnavailable, NoKey or BadStore."""
    app = make_celery(settings)
    app.conf.update(
        task_acks_late=True,  # with a prefetch of one, no knock queues behind a busy process
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_proc_alive_timeout=START,
    )
    node, draining, parent = new_node(), Flag(), os.getpid()
    keeper = Keeper(kind, node, Ledger(settings), Bell(app), draining.set)
    _add_task(app, settings, kind, keeper)
    shelf = open_shelf(settings.store_location, signing_key(settings.home_path, settings.signing_key))
    loaded = Loaded(shelf, settings.loaded_bytes)
    if kind is Kind.PREDICT:
        preload(settings, loaded)
    else:
        _tell_where(settings)
    _listen(app, keeper, lambda: _process(app, settings, kind, node, draining, shelf, loaded), loaded, parent)
    return app


def _tell_where(settings: Settings) -> None:
    """For who works on models and data beside the service."""
    ledger = Ledger(settings)
    ledger.guard(lambda: ledger.redis.set(ledger.prefix + "store", settings.store_location))


def _add_task(app: Celery, settings: Settings, kind: Kind, keeper: Keeper) -> None:
    class Knock(Request):  # type: ignore[misc]
        """A knock that runs over the hard limit is told to the keeper before its process is killed."""

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            self.accepted_at = time.monotonic()
            super().on_accepted(pid, time_accepted)

        def on_timeout(self, soft: bool, timeout: float) -> None:
            keeper.timed_out(self.worker_pid, self.accepted_at)
            super().on_timeout(soft, timeout)

    limit = settings.train_limit if kind is Kind.TRAIN else settings.predict_limit
    hard_limit = settings.time_slice + limit + settings.limit_margin

    @app.task(name=TASK, Request=Knock, time_limit=hard_limit)  # type: ignore[untyped-decorator]
    def serve(bell: str) -> None:
        app.mldeploy_process.serve(bell)


def _listen(app: Celery, keeper: Keeper, make_process: Callable[[], Process], loaded: Loaded, parent: int) -> None:
    def on_ready(sender: Any, **_: Any) -> None:
        keeper.start(sender.controller.pool)

    def on_process_init(**_: Any) -> None:
        tie_to_parent(parent)
        threadpool_limits(1)
        app.mldeploy_process = make_process()
        try:
            loaded.warm()
        except Exception:
            log.exception("a model that was loaded before the fork cannot be asked here; it is left to its jobs")

    signals.worker_ready.connect(on_ready, weak=False)
    signals.task_received.connect(lambda **_: keeper.heard(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: keeper.drain(), weak=False)
    signals.worker_shutdown.connect(lambda **_: keeper.leave(), weak=False)
    signals.worker_process_init.connect(on_process_init, weak=False)


def _process(app: Celery, settings: Settings, kind: Kind, node: str, draining: Flag, shelf: Shelf, loaded: Loaded) -> Process:
    ledger, bell, owner = Ledger(settings), Bell(app), owner_of(node, os.getpid())

    def guard(call: Callable[[], Any]) -> Any:
        return patiently(lambda: ledger.guard(call))

    known = ledger.redis, ledger.prefix, guard
    registry, datasets, rollout = Registry(*known), Datasets(*known), Rollout(*known)
    doer: Doer
    if kind is Kind.TRAIN:
        swap = Swap(ledger, Crew(Kind.PREDICT, ledger, bell), registry, datasets, rollout, shelf.store)
        training = Training(registry, datasets, shelf, swap, settings)
        doer = Learning(ledger, owner, training, Adding(datasets, shelf.store, settings.train_limit))
    else:
        doer = Predicting(owner, ledger, registry, rollout, loaded, settings.predict_limit)
    return Process(kind, owner, ledger, bell, doer, draining.is_set)
