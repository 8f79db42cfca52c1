"""``python -m api``: the API, in MLDEPLOY_API_WORKERS processes."""

import gc
import sys
from functools import partial

from api.app import create_app
from api.application import Application
from api.http.dispatch import Server
from api.server.limits import plan_limits
from api.server.listener import bind, serve
from api.server.processes import run_processes
from api.service import make_service
from logs import log_to_stderr
from settings import BadSettings, Settings, load

DRAIN_TIMEOUT = 3  # seconds for pending responses; a client that waits longer is cut and sends its request again
GC_THRESHOLD = 10_000  # objects before a collection of the youngest generation
SWITCH_INTERVAL = 0.0005  # seconds until a thread beside the event loop may run


def serve_api(settings: Settings, app: Application) -> None:
    """Serves in one process."""
    log_to_stderr("api")
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()  # imported modules stay, and need no further collections
    gc.set_threshold(GC_THRESHOLD)  # objects of requests in flight cause fewer collections
    sock = bind(settings.host, settings.port, shared=settings.api_workers > 1)
    serve(lambda: Server(app, make_service(settings)), plan_limits(settings), sock, DRAIN_TIMEOUT)


def main() -> None:
    settings = load()
    try:
        plan_limits(settings)
        app = create_app(settings)
        bind(settings.host, settings.port, shared=False).close()  # fails if another program has the port
    except BadSettings as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"cannot serve at {settings.host}, port {settings.port}: {error.strerror} (MLDEPLOY_HOST, MLDEPLOY_PORT)")
    run_processes(settings.api_workers, partial(serve_api, settings, app))


if __name__ == "__main__":
    main()
