"""Runs a worker from its start to its end."""

import logging
import socket
import time
from collections.abc import Callable

from celery import Celery

from jobs.errors import LedgerUnavailable
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.redis_connection import UNREACHABLE, check_server
from logs import log_to_stderr
from settings import Settings
from struct_types import prepare_structs
from worker.app import Role, make_worker_app

log = logging.getLogger("mldeploy.worker")


def run_worker(settings: Settings, kind: Kind, processes: int, make_role: Callable[[], Role]) -> int:
    """Runs until a signal stops the worker, and returns the exit status. Raises UnsafeRedis, and the errors of ``make_role``."""
    log_to_stderr(kind)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # it logs a line for each wakeup
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    prepare_structs()
    _wait_for_redis(settings)
    app = make_worker_app(settings, kind, make_role())
    return _run_celery(app, kind, processes)


def _run_celery(app: Celery, kind: Kind, processes: int) -> int:
    worker = app.Worker(
        hostname=f"{kind}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=processes,
        queues=[str(kind)],
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _wait_for_redis(settings: Settings) -> None:
    """Raises UnsafeRedis."""
    ledger = Ledger(settings)
    while True:
        try:
            return ledger.guard(lambda: check_server(ledger.redis, settings))
        except (LedgerUnavailable, *UNREACHABLE) as error:
            log.warning("waiting for Redis: %s", error)
            time.sleep(0.5)
