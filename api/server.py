"""Between granian and Flask: reads the request, finds its view by Flask's rules, awaits the answer and sends it.

The views run as coroutines on one event loop: a client that waits costs a future and not a thread, and one that sends slowly
holds nobody up. Flask's own context of a request is not made: it took half of the time (docs/performance.md).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from flask import Flask
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from api import problem
from api.admission import Admission
from api.exchange import Answer, Exchange, Stream, begin
from api.operation import Operation, operation_of
from api.problem import SlowBody, TooManyUploads
from api.repeats import accepted_before
from api.routes import Routes
from api.service import Service
from api.turns import Turns
from models.faults import MalformedInput

BODY_PATIENCE = 30.0  # seconds for a whole body
MOST_RECEIVED = 25  # times the largest body, of all bodies being received

READS = ("GET", "HEAD", "OPTIONS")

View = Callable[..., Awaitable[Answer | Stream]]


class Server:
    """An RSGI application."""

    def __init__(self, app: Flask, service: Service) -> None:
        self._service = service
        self._views: dict[str, View] = app.view_functions  # type: ignore[assignment]
        self._routes = Routes(app.url_map)
        self._turns = Turns()
        self._admission = Admission(service.settings, service.keys, service.rates, service.on_loop, service.threads)
        self._max_body = service.settings.max_body
        self._room = self._max_body * MOST_RECEIVED
        self._receiving: dict[asyncio.Task[Any], float] = {}  # -> when it has lasted too long

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._end_slow_bodies(loop)
        self._warming = loop.create_task(self._service.warm())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self._close())

    async def _close(self) -> None:
        await self._admission.close()
        await self._service.waiters.close()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(403)
            return
        answer = await self._answer(scope, protocol)
        if isinstance(answer, Stream):
            await _send(answer, scope.method, protocol)
        elif scope.method == "HEAD" or answer.status == 204:
            protocol.response_empty(answer.status, answer.headers)
        else:
            protocol.response_bytes(answer.status, answer.headers, answer.body)

    async def _answer(self, scope: Any, protocol: Any) -> Answer | Stream:
        headers, gone = scope.headers, protocol.client_disconnect
        exchange = Exchange(self._service, scope.method, scope.path, scope.query_string, headers, gone)
        begin(exchange)
        try:
            answer = await self._answer_well(exchange, scope, protocol)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem, and is logged if it is ours
            answer = problem.answer(error)
        finally:
            if exchange.turn:
                exchange.turn.end()
        if exchange.notes:
            answer.headers.extend(exchange.notes)
        return answer

    async def _answer_well(self, exchange: Exchange, scope: Any, protocol: Any) -> Answer | Stream:
        view, operation, arguments = await self._admitted(exchange)
        await self._take_in(exchange, scope, protocol)
        before = await accepted_before() if operation.submits else None
        if before:
            return before
        await self._admission.spend(exchange)
        if exchange.method == "OPTIONS":
            return Answer(b"", 204, [("Allow", ", ".join(self._routes.allowed(exchange.path)))])
        answer = await view(**arguments)
        if exchange.method in READS:
            self._admission.check_is_valid(exchange)  # still: it may have waited for a minute
        if isinstance(answer, Stream):
            return answer._replace(chunks=self._while_valid(exchange, answer.chunks))
        return answer

    async def _while_valid(self, exchange: Exchange, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """A key that is revoked hears no more."""
        async with aclosing(chunks):
            async for chunk in chunks:
                if not self._admission.is_valid(exchange):
                    return
                yield chunk

    async def _admitted(self, exchange: Exchange) -> tuple[View, Operation, dict[str, Any]]:
        """Whom nobody knows is not told either what there is."""
        try:
            endpoint, arguments = self._routes.match(exchange.method, exchange.path)
        except HTTPException as error:
            if not self._is_open(exchange.path, error):
                await self._admission.enter(exchange, "any")
            raise
        view = self._views[endpoint]
        operation = operation_of(view)
        await self._admission.enter(exchange, operation.access)
        return view, operation, arguments

    def _is_open(self, path: str, error: HTTPException) -> bool:
        """Whether the path is there for everybody, only not with this method."""
        methods = error.valid_methods or () if isinstance(error, MethodNotAllowed) else ()
        return any(operation_of(self._views[self._routes.match(method, path)[0]]).access == "open" for method in methods)

    async def _take_in(self, exchange: Exchange, scope: Any, protocol: Any) -> None:
        """The whole body and then the turn: one who sends slowly keeps nobody from his. There is room for so many bytes of those
        that are on their way or wait for their turn. Raises RequestEntityTooLarge, TooManyUploads, SlowBody, or MalformedInput if
        the body was cut short."""
        reads = exchange.method in READS
        if reads:
            self._turns.note_read()
        most = 0 if reads and "content-length" not in exchange.headers else self._most_of(exchange, scope)
        if most > self._room:
            raise TooManyUploads("Too much is being received already; send it again.")
        self._room -= most
        try:
            if most:
                exchange.body = await self._receive(exchange, protocol)
            if not reads:
                exchange.turn = await self._turns.take()
        finally:
            self._room += most

    def _most_of(self, exchange: Exchange, scope: Any) -> int:
        """Bytes of the body at most. Raises RequestEntityTooLarge."""
        declared = exchange.headers.get("content-length")
        if declared is None and "transfer-encoding" not in exchange.headers and scope.http_version[0] == "1":
            return 0
        most = int(declared) if declared else self._max_body
        if most > self._max_body:
            raise RequestEntityTooLarge
        return most

    async def _receive(self, exchange: Exchange, protocol: Any) -> bytes:
        declared = exchange.headers.get("content-length")
        task = asyncio.current_task()
        assert task is not None
        self._receiving[task] = time.monotonic() + BODY_PATIENCE
        try:
            body: bytes = await protocol() if declared else await self._chunks(protocol)
        except asyncio.CancelledError:
            raise SlowBody(f"the body did not arrive within {BODY_PATIENCE:g} s") from None
        finally:
            del self._receiving[task]
        if declared and len(body) != int(declared):
            raise MalformedInput(f"{len(body)} of {declared} bytes arrived")
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


async def _send(stream: Stream, method: str, protocol: Any) -> None:
    """Until it ends, or the client is gone."""
    if method == "HEAD":
        protocol.response_empty(stream.status, stream.headers)
        return
    sending = asyncio.ensure_future(_send_all(stream, protocol.response_stream(stream.status, stream.headers)))
    gone = asyncio.ensure_future(protocol.client_disconnect())
    try:
        await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        sending.cancel()
        with suppress(asyncio.CancelledError, ProtocolClosed):
            await sending


async def _send_all(stream: Stream, transport: Any) -> None:
    async with aclosing(stream.chunks) as chunks:
        async for chunk in chunks:
            await transport.send_bytes(chunk)
