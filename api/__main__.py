"""``python -m api``: the API on granian."""

import gc
import multiprocessing
import sys
from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from api.app import create_app
from api.server import Server
from api.service import make_service
from logs import log_to_stderr
from settings import load
from tether import tie_to_parent

STOP = 3  # seconds that answers in hand get; a client that waits is cut and asks again
OTHERS = 1000  # requests in flight beside those that wait
YOUNG = 10_000  # objects, before the collector looks at them
TURN = 0.0005  # seconds until a thread beside the event loop gets its turn


def load_app(_: str) -> Any:
    """Runs in each of granian's processes."""
    parent = multiprocessing.parent_process()
    tie_to_parent(parent.pid if parent else None)
    log_to_stderr("api")
    server = Server(create_app(), make_service(load()))
    sys.setswitchinterval(TURN)
    gc.freeze()  # what was imported stays, and need not be looked through again and again …
    gc.set_threshold(YOUNG)  # … nor what many requests in flight hold
    return server


def main() -> None:
    settings = load()
    server = Granian(
        "api",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,  # a sixth less CPU than asyncio's own (docs/performance.md)
        workers=settings.api_workers,
        backpressure=settings.api_waiters + OTHERS,
        backlog=2048,
        runtime_blocking_threads=1,  # more only contend for the interpreter
        respawn_failed_workers=True,
        workers_kill_timeout=STOP,
        websockets=False,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=load_app)


if __name__ == "__main__":
    main()
