"""The Celery app of a worker of any kind: one task, ``serve(bell)``, on prefork."""

import mmap
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from celery import Celery, signals
from celery.worker.request import Request
from threadpoolctl import threadpool_limits

from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import TASK, WakeupSender, make_celery
from parent_death import make_expendable, tie_to_parent
from settings import Settings
from worker.local_wakeups import LOST, LocalWakeups
from worker.process import Handler, Process
from worker.supervisor import Supervisor, new_node, owner_of

DELIVERY = 60.0  # seconds; each of a claim is bounded by itself
START = 120.0  # seconds that a new process gets; it asks each loaded model once
LISTENS_ON = repr(True)  # what Celery's parent process sees of what the task returned
EXPENDABLE = {Kind.TRAIN: 0.9, Kind.PREDICT: 0.6}  # when memory runs out; their parents go later


class Flag:
    """A flag that the parent raises and its children see: a byte of shared memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def is_set(self) -> bool:
        return self._memory[0] == 1


class Role(Protocol):
    """What the workers of a kind can do."""

    def prepare(self) -> None:
        """Once, before the fork. Raises LedgerUnavailable."""

    def handler(self, owner: str, ledger: Ledger, wakeup_sender: WakeupSender) -> Handler:
        """In each process, after the fork."""


def make_worker_app(settings: Settings, kind: Kind, role: Role) -> Celery:
    """Raises LedgerUnavailable."""
    app = make_celery(settings)
    app.conf.update(
        task_acks_late=True,  # with a prefetch of one, no knock queues behind a busy process
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_proc_alive_timeout=START,
        worker_lost_wait=LOST,  # what it had is the keeper's to tell
    )
    node, draining, parent, wakeups = new_node(), Flag(), os.getpid(), LocalWakeups(app)
    supervisor = Supervisor(kind, node, Ledger(settings), WakeupSender(app), wakeups, draining.set)
    _add_task(app, settings, kind, supervisor, wakeups)
    role.prepare()

    def make_process() -> Process:
        ledger, wakeup_sender, owner = Ledger(settings), WakeupSender(app), owner_of(node, os.getpid())
        return Process(kind, owner, ledger, wakeup_sender, role.handler(owner, ledger, wakeup_sender), draining.is_set)

    _listen(app, supervisor, make_process, parent, EXPENDABLE.get(kind, 0.0))
    return app


def _add_task(app: Celery, settings: Settings, kind: Kind, supervisor: Supervisor, wakeups: LocalWakeups) -> None:
    class WakeupRequest(Request):  # type: ignore[misc]
        """One that runs over the hard limit is told to the keeper before its process is killed. One whose process wants to listen
        on is followed by another."""

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            self.accepted_at = time.monotonic()
            super().on_accepted(pid, time_accepted)

        def on_timeout(self, soft: bool, timeout: float) -> None:
            supervisor.timed_out(self.worker_pid, self.accepted_at)
            super().on_timeout(soft, timeout)

        def __init_subclass__(cls) -> None:
            """Celery derives a class for the task whose own ``on_success`` calls none above it."""
            celerys = cls.on_success

            def on_success(self: WakeupRequest, failed__retval__runtime: tuple[int, str, float], **options: Any) -> None:
                celerys(self, failed__retval__runtime, **options)
                if failed__retval__runtime[1] == LISTENS_ON:
                    wakeups.send()

            cls.on_success = on_success

    limit = {Kind.TRAIN: settings.train_limit, Kind.WEBHOOK: DELIVERY}.get(kind, settings.predict_limit)
    hard_limit = settings.time_slice + limit + settings.limit_margin

    @app.task(name=TASK, Request=WakeupRequest, time_limit=hard_limit)  # type: ignore[untyped-decorator]
    def serve(wakeup_sender: str) -> bool:
        wants_more: bool = app.mldeploy_process.serve(wakeup_sender)
        return wants_more


def _listen(app: Celery, supervisor: Supervisor, make_process: Callable[[], Process], parent: int, expendable: float) -> None:
    def on_ready(sender: Any, **_: Any) -> None:
        supervisor.start(sender)

    def on_process_init(**_: Any) -> None:
        tie_to_parent(parent)
        make_expendable(expendable)
        threadpool_limits(1)
        app.mldeploy_process = make_process()

    signals.worker_ready.connect(on_ready, weak=False)
    signals.task_received.connect(lambda **_: supervisor.heard(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: supervisor.drain(), weak=False)
    signals.worker_shutdown.connect(lambda **_: supervisor.owner_left(), weak=False)
    signals.worker_process_init.connect(on_process_init, weak=False)
