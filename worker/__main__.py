"""``python -m worker predict|train``: a worker of one kind."""

import argparse
import logging
import socket
import sys
import time

from celery import Celery

from jobs.connection import UNREACHABLE, check_server
from jobs.errors import LedgerUnavailable, UnsafeRedis
from jobs.job import WORKERS, Kind
from jobs.ledger import Ledger
from models.signing import NoKey
from models.store import BadStore
from settings import Settings, load
from worker.app import make_worker_app

log = logging.getLogger("mldeploy.worker")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("kind", choices=list(WORKERS))
    arguments = parser.parse_args()
    settings, kind = load(), Kind(arguments.kind)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {kind} %(process)d %(message)s")
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # a line per knock
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    try:
        _wait_for_redis(settings)
        app = make_worker_app(settings, kind)
    except (UnsafeRedis, NoKey, BadStore) as error:
        sys.exit(str(error))
    processes = settings.train_workers if kind is Kind.TRAIN else settings.predict_workers
    sys.exit(run(app, kind, processes))


def run(app: Celery, kind: Kind, processes: int) -> int:
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


if __name__ == "__main__":
    main()
