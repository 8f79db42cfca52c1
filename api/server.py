"""Between a connection and Flask: finds the view of a request by Flask's rules and awaits its answer.

The views run as coroutines on one event loop: a client that waits costs a future and not a thread, and one that sends slowly
holds nobody up. Flask's own context of a request is not made: it took half of the time (docs/performance.md).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api import problem
from api.admission import Admission
from api.exchange import Exchange, begin
from api.http.request import Request
from api.http.response import Answer, Stream
from api.http.room import Room
from api.operation import Operation, operation_of
from api.problem import Refusal
from api.repeats import accepted_before
from api.routes import Routes
from api.service import Service
from api.turns import Turns

MOST_RECEIVED = 25  # times the largest body, of all bodies being received
SHARE = 2  # of which one caller may take one part in so many

READS = ("GET", "HEAD", "OPTIONS")
ALWAYS = ("/health/live", "/health/ready")  # answered however many are connected

View = Callable[..., Awaitable[Answer | Stream]]


class Server:
    def __init__(self, app: Flask, service: Service) -> None:
        self._service = service
        self._views: dict[str, View] = app.view_functions  # type: ignore[assignment]
        self._routes = Routes(app.url_map)
        self._turns = Turns()
        self._admission = Admission(service.settings, service.keys, service.rates, service.on_loop, service.threads)
        self._max_body = service.settings.max_body
        self._room = Room(self._max_body * MOST_RECEIVED, self._max_body * MOST_RECEIVED // SHARE)

    async def start(self) -> None:
        self._warming = asyncio.get_running_loop().create_task(self._service.warm())

    async def stop(self) -> None:
        await self._admission.close()
        await self._service.waiters.close()

    def refuse(self, code: str, detail: str) -> Answer:
        return problem.no_request(code, detail)

    async def answer(self, request: Request) -> Answer | Stream:
        exchange = Exchange(
            self._service, request.method, request.path, request.query, request.headers, request.gone, request.address
        )
        begin(exchange)
        try:
            answer = await self._answer_well(exchange, request)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem, and is logged if it is ours
            answer = problem.answer(error)
        finally:
            if exchange.turn:
                exchange.turn.end()
        if exchange.notes:
            answer.headers.extend(exchange.notes)
        return answer

    async def _answer_well(self, exchange: Exchange, request: Request) -> Answer | Stream:
        if request.over and exchange.path not in ALWAYS:
            raise Refusal("too-many-connections", "Too many clients are connected; try again later.")
        view, operation, arguments = await self._admitted(exchange)
        await self._take_in(exchange, request)
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

    async def _take_in(self, exchange: Exchange, request: Request) -> None:
        """The whole body and then the turn: one who sends slowly keeps nobody from his. There is room for so many bytes that have
        come and wait for the rest, or for their turn. Raises BodyTooLarge, NoRoom, SlowBody or BodyCut."""
        reads = exchange.method in READS
        if request.headers.get("content-encoding") not in (None, "", "identity"):
            raise Refusal("unsupported-media-type", "A body that is compressed (Content-Encoding) is not read: send it as it is.")
        if reads:
            self._turns.note_read()
        body = request.body
        try:
            if body.declared != 0:
                exchange.body = await body.read(self._room, exchange.caller or exchange.address, self._max_body)
            if not reads:
                exchange.turn = await self._turns.take()
        finally:
            body.release()
