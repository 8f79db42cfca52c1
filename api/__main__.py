"""``python -m api``: the API on granian."""

import logging
import multiprocessing
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from api.app import create_app
from settings import load
from tether import tie_to_parent

STOP = 3  # seconds that answers in hand get; a client that waits is cut and asks again


def load_app(_: str) -> Any:
    """Runs in each of granian's processes."""
    parent = multiprocessing.parent_process()
    tie_to_parent(parent.pid if parent else None)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s api %(process)d %(message)s")
    return create_app(load())


def main() -> None:
    settings = load()
    server = Granian(
        "api",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.api_workers,
        blocking_threads=settings.api_threads,
        backpressure=settings.api_threads * 8,
        backlog=2048,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP,
        websockets=False,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=load_app)


if __name__ == "__main__":
    main()
