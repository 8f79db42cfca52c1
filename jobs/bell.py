"""The bell: a Celery message that says "this lane has work", and no more. A lost or doubled one costs nothing."""

import logging
import queue
import threading
from collections.abc import Iterable

from celery import Celery
from kombu.exceptions import OperationalError

from jobs.job import LANES
from settings import Settings

log = logging.getLogger("mldeploy.bell")

TASK = "serve"
BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, "retry_on_timeout": False}
_KINDS = {lane: kind for kind, lanes in LANES.items() for lane in lanes}


def make_celery(settings: Settings) -> Celery:
    """A Celery app that speaks to our broker; it publishes without retrying and keeps no results."""
    app = Celery("mldeploy", broker=settings.broker, set_as_current=False)
    app.conf.update(
        broker_transport_options={**BROKER_TRANSPORT_OPTIONS, "global_keyprefix": f"{settings.key_prefix}:celery:"},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
    )
    return app


class Bell:
    """Rings at once, in the caller's thread."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def ring(self, rings: Iterable[tuple[str, str]]) -> None:
        """Never raises for a broker that is away: the reconciler rings again."""
        for lane, bell in rings:
            try:
                self._celery.send_task(TASK, args=(lane, bell), queue=_KINDS[lane], ignore_result=True)
            except (OperationalError, OSError) as error:
                log.warning("could not ring for lane %s: %s", lane, error)
                return


class RingingThread:
    """Rings in a thread of its own: an answer to a client neither waits for a knock nor fails with it."""

    def __init__(self, bell: Bell, bound: int = 1000) -> None:
        self._bell = bell
        self._waiting: queue.Queue[list[tuple[str, str]]] = queue.Queue(bound)
        threading.Thread(target=self._ring_all, name="bell", daemon=True).start()

    def ring(self, rings: list[tuple[str, str]]) -> None:
        if rings and not self._waiting.full():  # a knock left out is rung by the reconciler
            self._waiting.put(rings)

    def _ring_all(self) -> None:
        while True:
            self._bell.ring(self._waiting.get())
