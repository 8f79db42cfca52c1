"""``python -m api``: the API, in as many processes as is set."""

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

STOP = 3  # seconds that answers in hand get; a client that waits is cut and asks again
YOUNG = 10_000  # objects, before the collector looks at them
TURN = 0.0005  # seconds until a thread beside the event loop gets its turn


def serve_api(settings: Settings, app: Application) -> None:
    """In each of the processes."""
    log_to_stderr("api")
    sys.setswitchinterval(TURN)
    gc.freeze()  # what was imported stays, and need not be looked through again and again …
    gc.set_threshold(YOUNG)  # … nor what many requests in flight hold
    sock = bind(settings.host, settings.port, shared=settings.api_workers > 1)
    serve(lambda: Server(app, make_service(settings)), plan_limits(settings), sock, STOP)


def main() -> None:
    settings = load()
    try:
        plan_limits(settings)
        app = create_app(settings)
        bind(settings.host, settings.port, shared=False).close()  # another's port is not to be shared
    except BadSettings as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"cannot serve at {settings.host}, port {settings.port}: {error.strerror} (MLDEPLOY_HOST, MLDEPLOY_PORT)")
    run_processes(settings.api_workers, partial(serve_api, settings, app))


if __name__ == "__main__":
    main()
