"""The wakeup: a Celery message that says only "there is work of this kind". Losing or duplicating one does no harm."""

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
    "ack_emulation": False,  # losing a message does no harm, so Redis need not record who has it
}


def make_celery(settings: Settings) -> Celery:
    """A Celery app for our broker that publishes without retries and keeps no results. With a Redis broker, consumers write
    nothing to it: no bindings (the exchange is the default one), no record of delivered messages, no remote control."""
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
    """Sends wakeups from its own thread, so that the caller neither waits for the broker nor fails with it."""

    def __init__(self, celery: Celery, max_waiting: int = 1000) -> None:
        self._celery = celery
        self._waiting: queue.Queue[Wakeups] = queue.Queue(max_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, wakeups: Wakeups) -> None:
        """Queue the wakeups for sending. The reconciler repeats those that are dropped because the queue is full."""
        if wakeups:
            with suppress(queue.Full):
                self._waiting.put_nowait(wakeups)
            self._start()

    def waiting(self, kind: str) -> int:
        """How many messages for workers of this kind wait in the broker; 0 if it does not answer."""
        connection = self._celery.connection_for_write()
        try:
            with connection:
                queue = self._celery.amqp.queues[kind](connection.default_channel)
                return int(queue.queue_declare().message_count)
        except (OperationalError, OSError, *connection.connection_errors) as error:
            log.warning("the broker does not report whether messages wait: %s", error)
            return 0

    def _start(self) -> None:
        """Start the thread with the first wakeup, so that a process that forks earlier has none."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="wakeup", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            for kind, wakeup in self._waiting.get():
                try:
                    self._celery.send_task(TASK, args=(wakeup,), queue=kind, ignore_result=True)
                except (OperationalError, OSError) as error:
                    log.warning("could not send a wakeup to a %s worker: %s", kind, error)
                    break
                except Exception:
                    log.exception("could not send a wakeup to a %s worker", kind)
                    break
