"""Wake-ups that a worker gives itself: its processes begin to listen, and go on listening, without a message from the broker.

So a broker that takes no more (a Redis at its memory limit) holds up nobody who has work to finish.
"""

import uuid
from typing import Any

from celery import Celery
from celery.worker import state
from celery.worker.request import create_request_cls
from kombu.message import Message
from kombu.serialization import dumps

from jobs.wakeup import TASK

LOST = 0.5  # seconds until Celery gives up on what a process that died was doing, and its place is free
MARGIN = 0.25  # seconds between Celery's look at its processes and ours


class LocalWakeups:
    def __init__(self, app: Celery) -> None:
        self._app = app
        self._consumer: Any = None
        self._request: Any = None
        self._sent = False

    def start(self, consumer: Any) -> None:
        """To be called in the main thread once the consumer runs, and again after each reconnection."""
        task = self._app.tasks[TASK]
        self._consumer = consumer
        self._request = create_request_cls(task.Request, task, consumer.pool, consumer.hostname, None, app=self._app)

    def send(self) -> None:
        """Wake a process that is not at work, if there is one. May be called from any thread."""
        if self._consumer is not None and not self._sent:
            self._sent = True
            self._consumer.call_soon(self._run)

    def free_place(self) -> None:
        """After a process died. Celery itself looks for such places every five seconds, and until then the successor would do
        nothing. May be called from any thread."""
        if self._consumer is not None:
            self._consumer.call_soon(self._replace)

    def _replace(self) -> None:
        """This look sees that the process has died, which Celery may have missed; the next one, that what it did is lost."""
        self._consumer.pool.maintain_pool()
        self._consumer.hub.call_later(LOST + MARGIN, self._free_places)

    def _free_places(self) -> None:
        self._consumer.pool.maintain_pool()
        self.send()

    def _run(self) -> None:
        self._sent = False
        pool = self._consumer.pool
        while len(state.reserved_requests) < pool.num_processes:
            request = self._request(self._message(), app=self._app, hostname=self._consumer.hostname, task=self._app.tasks[TASK])
            state.task_reserved(request)
            request.execute_using_pool(pool)

    def _message(self) -> Message:
        """As the broker would deliver it, with nothing to acknowledge."""
        task = self._app.amqp.as_task_v2(str(uuid.uuid4()), TASK, args=("",), kwargs={}, ignore_result=True)
        content_type, content_encoding, body = dumps(task.body, serializer="json")  # type: ignore[no-untyped-call]
        return Message(  # type: ignore[no-untyped-call]
            body=body,
            headers=task.headers,
            properties=task.properties,
            content_type=content_type,
            content_encoding=content_encoding,
            delivery_info={},
            accept=[content_type],
        )
