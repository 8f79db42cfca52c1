"""Wakeups inside one worker: they start the task in an idle process without a message from the broker.

So workers can finish their jobs although the broker accepts no messages (a Redis at its memory limit).
"""

import uuid
from typing import Any

from celery import Celery
from celery.worker import state
from celery.worker.request import create_request_cls
from kombu.message import Message
from kombu.serialization import dumps

from jobs.wakeup import TASK

LOST_TIMEOUT = 0.5  # seconds until Celery marks the task of a dead process as lost and frees its slot
MAINTAIN_MARGIN = 0.25  # seconds that our check comes after Celery's time-out


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
        """Wakes an idle process, if there is one. May be called from any thread."""
        if self._consumer is not None and not self._sent:
            self._sent = True
            self._consumer.call_soon(self._start_requests)

    def free_slot(self) -> None:
        """Frees the slot of a process that died. Celery itself checks every five seconds, and until then the successor would be
        idle. May be called from any thread."""
        if self._consumer is not None:
            self._consumer.call_soon(self._maintain_pool)

    def _maintain_pool(self) -> None:
        """This check notices the death, which Celery may have missed; the next one marks the task as lost."""
        self._consumer.pool.maintain_pool()
        self._consumer.hub.call_later(LOST_TIMEOUT + MAINTAIN_MARGIN, self._free_slots)

    def _free_slots(self) -> None:
        self._consumer.pool.maintain_pool()
        self.send()

    def _start_requests(self) -> None:
        self._sent = False
        pool = self._consumer.pool
        while len(state.reserved_requests) < pool.num_processes:
            request = self._request(self._message(), app=self._app, hostname=self._consumer.hostname, task=self._app.tasks[TASK])
            state.task_reserved(request)
            request.execute_using_pool(pool)

    def _message(self) -> Message:
        """The message that the broker would deliver, without an acknowledgement."""
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
