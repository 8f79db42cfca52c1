"""The bell: a Celery message that says "there is work of this kind", and no more. A lost or doubled one costs nothing."""

import logging
import queue
import threading
from contextlib import suppress

from celery import Celery
from kombu.exceptions import OperationalError

from jobs.codec import Wakeups
from settings import Settings

log = logging.getLogger("mldeploy.wakeup")

TASK = "serve"
BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "retry_on_timeout": False,
    "ack_emulation": False,  # a message that is lost costs nothing, so Redis need not note who has it
}


def make_celery(settings: Settings) -> Celery:
    """A Celery app that speaks to our broker; it publishes without retrying and keeps no results. Whoever consumes from a Redis
    writes nothing to it: no bindings (the exchange is the nameless one), no notes of what was delivered, no remote control."""
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
        worker_enable_remote_control=False,
    )
    app.amqp.autoexchange = lambda _: None
    return app


class WakeupSender:
    """Wakeups in a thread of its own: whoever rings neither waits for the broker nor fails with it."""

    def __init__(self, celery: Celery, bound: int = 1000) -> None:
        self._celery = celery
        self._waiting: queue.Queue[Wakeups] = queue.Queue(bound)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, wakeups: Wakeups) -> None:
        """A knock left out, because too many wait already, is rung again by the reconciler."""
        if wakeups:
            with suppress(queue.Full):
                self._waiting.put_nowait(wakeups)
            self._start()

    def waiting(self, kind: str) -> int:
        """Messages that wait in the broker for workers of this kind; 0 if it does not say."""
        connection = self._celery.connection_for_write()
        try:
            with connection:
                queue = self._celery.amqp.queues[kind](connection.default_channel)
                return int(queue.queue_declare().message_count)
        except (OperationalError, OSError, *connection.connection_errors) as error:
            log.warning("the broker does not say whether messages wait: %s", error)
            return 0

    def _start(self) -> None:
        """With the first knock, so that a process which forks before has no thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="bell", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            for kind, wakeup in self._waiting.get():
                try:
                    self._celery.send_task(TASK, args=(wakeup,), queue=kind, ignore_result=True)
                except (OperationalError, OSError) as error:
                    log.warning("could not ring for a %s worker: %s", kind, error)
                    break
                except Exception:
                    log.exception("could not ring for a %s worker", kind)
                    break
