"""The Celery app of a worker of any kind. It has one task, ``serve(wakeup)``, and runs on the prefork pool."""

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
from parent_death import die_with_parent, make_expendable
from settings import Settings
from worker.local_wakeups import LOST_TIMEOUT, LocalWakeups
from worker.process import Handler, Process
from worker.supervisor import Supervisor, new_node, owner_of

DELIVERY_TIME_LIMIT = 60.0  # seconds for one claim; each of its deliveries has a time-out of its own
PROCESS_START_TIMEOUT = 120.0  # seconds for a new process, which predicts once with each loaded model
KEEPS_LISTENING = repr(True)  # the task's result as Celery's parent process receives it
EXPENDABLE_SHARES = {Kind.TRAIN: 0.9, Kind.PREDICT: 0.6}  # for the kernel when memory runs out; the parents have lower shares


class Flag:
    """A flag in shared memory, which the parent sets and its children read."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def is_set(self) -> bool:
        return self._memory[0] == 1


class Role(Protocol):
    """Makes the handlers of the workers of one kind."""

    def prepare(self) -> None:
        """Called once, before the fork. Raises LedgerUnavailable."""

    def handler(self, owner: str, ledger: Ledger, wakeup_sender: WakeupSender) -> Handler:
        """Called in each process, after the fork."""


def make_worker_app(settings: Settings, kind: Kind, role: Role) -> Celery:
    """Raises LedgerUnavailable."""
    app = make_celery(settings)
    app.conf.update(
        task_acks_late=True,  # with a prefetch of one, no wakeup waits behind a busy process
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_proc_alive_timeout=PROCESS_START_TIMEOUT,
        worker_lost_wait=LOST_TIMEOUT,  # the supervisor reports the jobs of a lost process
    )
    node, draining, parent, wakeups = new_node(), Flag(), os.getpid(), LocalWakeups(app)
    supervisor = Supervisor(kind, node, Ledger(settings), WakeupSender(app), wakeups, draining.set)
    _add_task(app, settings, kind, supervisor, wakeups)
    role.prepare()

    def make_process() -> Process:
        ledger, wakeup_sender, owner = Ledger(settings), WakeupSender(app), owner_of(node, os.getpid())
        return Process(kind, owner, ledger, wakeup_sender, role.handler(owner, ledger, wakeup_sender), draining.is_set)

    _connect_signals(app, supervisor, make_process, parent, EXPENDABLE_SHARES.get(kind, 0.0))
    return app


def _add_task(app: Celery, settings: Settings, kind: Kind, supervisor: Supervisor, wakeups: LocalWakeups) -> None:
    class WakeupRequest(Request):  # type: ignore[misc]
        """Reports a hard time-out to the supervisor before the process is killed, and sends another wakeup if the process wants
        to keep listening."""

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            self.accepted_at = time.monotonic()
            super().on_accepted(pid, time_accepted)

        def on_timeout(self, soft: bool, timeout: float) -> None:
            supervisor.on_time_limit(self.worker_pid, self.accepted_at)
            super().on_timeout(soft, timeout)

        def __init_subclass__(cls) -> None:
            """Wraps ``on_success`` of the subclass that Celery makes for the task, which does not call its base class."""
            celery_on_success = cls.on_success

            def on_success(self: WakeupRequest, failed__retval__runtime: tuple[int, str, float], **options: Any) -> None:
                celery_on_success(self, failed__retval__runtime, **options)
                if failed__retval__runtime[1] == KEEPS_LISTENING:
                    wakeups.send()

            cls.on_success = on_success

    limit = {Kind.TRAIN: settings.train_limit, Kind.WEBHOOK: DELIVERY_TIME_LIMIT}.get(kind, settings.predict_limit)
    hard_limit = settings.time_slice + limit + settings.limit_margin

    @app.task(name=TASK, Request=WakeupRequest, time_limit=hard_limit)  # type: ignore[untyped-decorator]
    def serve(wakeup: str) -> bool:
        keeps_listening: bool = app.mldeploy_process.serve(wakeup)
        return keeps_listening


def _connect_signals(
    app: Celery, supervisor: Supervisor, make_process: Callable[[], Process], parent: int, expendable: float
) -> None:
    def on_ready(sender: Any, **_: Any) -> None:
        supervisor.on_ready(sender)

    def on_process_init(**_: Any) -> None:
        die_with_parent(parent)
        make_expendable(expendable)
        threadpool_limits(1)
        app.mldeploy_process = make_process()

    signals.worker_ready.connect(on_ready, weak=False)
    signals.task_received.connect(lambda **_: supervisor.on_message(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: supervisor.drain(), weak=False)
    signals.worker_shutdown.connect(lambda **_: supervisor.on_shutdown(), weak=False)
    signals.worker_process_init.connect(on_process_init, weak=False)
