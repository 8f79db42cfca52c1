"""Between granian and Flask: reads the request, finds its view by Flask's rules, awaits the answer and sends it.

The views run as coroutines on one event loop: a client that waits costs a future and not a thread, and one that sends slowly
holds nobody up. Flask's own context of a request is not made: it took half of the time (docs/performance.md).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from flask import Flask
from werkzeug.exceptions import RequestEntityTooLarge

from api import problem
from api.exchange import Answer, Exchange, begin
from api.problem import SlowBody, TooManyUploads
from api.routes import Routes
from api.service import Service
from api.turns import Turns
from models.faults import MalformedInput

BODY_PATIENCE = 30.0  # seconds for a whole body
MOST_RECEIVED = 25  # times the largest body, of all bodies being received

READS = ("GET", "HEAD", "OPTIONS")

View = Callable[..., Awaitable[Answer]]


class Server:
    """An RSGI application."""

    def __init__(self, app: Flask, service: Service) -> None:
        self._service = service
        self._views: dict[str, View] = app.view_functions  # type: ignore[assignment]
        self._routes = Routes(app.url_map)
        self._turns = Turns()
        self._max_body = service.settings.max_body
        self._room = self._max_body * MOST_RECEIVED
        self._receiving: dict[asyncio.Task[Any], float] = {}  # -> when it has lasted too long

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._end_slow_bodies(loop)
        self._warming = loop.create_task(self._service.warm())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self._service.waiters.close())

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(403)
            return
        body, status, headers = await self._answer(scope, protocol)
        if scope.method == "HEAD":
            protocol.response_empty(status, headers)
        else:
            protocol.response_bytes(status, headers, body)

    async def _answer(self, scope: Any, protocol: Any) -> Answer:
        exchange = Exchange(self._service, scope.method, scope.path, scope.query_string, scope.headers)
        begin(exchange)
        try:
            if scope.method not in READS or "content-length" in scope.headers:
                exchange.body = await self._receive(scope, protocol)
            if scope.method in READS:
                self._turns.note_read()
            else:  # with the whole body here: one who sends slowly keeps nobody from a turn
                exchange.turn = await self._turns.take()
            endpoint, arguments = self._routes.match(scope.method, scope.path)
            if scope.method == "OPTIONS":
                return Answer(b"", 204, [("Allow", ", ".join(self._routes.allowed(scope.path)))])
            return await self._views[endpoint](**arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem, and is logged if it is ours
            return problem.answer(error)
        finally:
            if exchange.turn:
                exchange.turn.end()

    async def _receive(self, scope: Any, protocol: Any) -> bytes:
        """The whole body. Raises RequestEntityTooLarge, TooManyUploads, SlowBody, or MalformedInput if it was cut short."""
        declared = scope.headers.get("content-length")
        if declared is None and "transfer-encoding" not in scope.headers and scope.http_version[0] == "1":
            return b""
        most = int(declared) if declared else self._max_body
        if most > self._max_body:
            raise RequestEntityTooLarge
        if most > self._room:
            raise TooManyUploads("Too much is being received already; send it again.")
        task = asyncio.current_task()
        assert task is not None
        self._room -= most
        self._receiving[task] = time.monotonic() + BODY_PATIENCE
        try:
            body: bytes = await protocol() if declared else await self._chunks(protocol)
        except asyncio.CancelledError:
            raise SlowBody(f"the body did not arrive within {BODY_PATIENCE:g} s") from None
        finally:
            self._room += most
            del self._receiving[task]
        if declared and len(body) != most:
            raise MalformedInput(f"{len(body)} of {most} bytes arrived")
        return body

    async def _chunks(self, protocol: Any) -> bytes:
        chunks, size = [], 0
        async for chunk in protocol:
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body:
                raise RequestEntityTooLarge
        return b"".join(chunks)

    def _end_slow_bodies(self, loop: asyncio.AbstractEventLoop) -> None:
        """Every second: cheaper than a timer for each body."""
        for task, end in list(self._receiving.items()):
            if time.monotonic() > end:
                task.cancel()
        loop.call_later(1.0, self._end_slow_bodies, loop)
