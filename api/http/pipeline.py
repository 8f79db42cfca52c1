"""What happens to a request for one of our routes, whichever way it came: who may make it, its body, its turn, whether it was
accepted before, its view.

The views are coroutines on one event loop: a client that waits costs a future and not a thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from flask import Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api.http.authentication import Authenticator
from api.http.context import ApiContext
from api.http.idempotency import accepted_before
from api.http.operation import Operation, is_described, operation_of
from api.http.problems import HTTPProblem
from api.http.router import Routes
from api.http.write_throttle import WriteThrottle
from api.server.memory_budget import Room
from api.server.response import Response, Stream
from api.service import Service

MAX_RECEIVED = 25  # times the largest body, of all bodies being received
SHARE = 2  # of which one caller may take one part in so many

READS = ("GET", "HEAD", "OPTIONS")

View = Callable[..., Awaitable[Response | Stream]]


class Body(Protocol):
    """The body of a request, of so many bytes if that was ``declared``."""

    @property
    def declared(self) -> int | None: ...

    async def read(self, room: Room, caller: str, most: int) -> bytes:
        """All of it, once. Raises BodyTooLarge, NoRoom, SlowBody or BodyCut."""

    def release(self) -> None:
        """The bytes are no longer counted."""


class Pipeline:
    """To be used on one event loop."""

    def __init__(self, app: Flask, service: Service) -> None:
        self.service = service
        self._views: dict[str, View] = app.view_functions  # type: ignore[assignment]
        self._all_ours = all(map(is_described, self._views.values()))
        self._routes = Routes(app.url_map)
        self._turns = WriteThrottle()
        self._admission = Authenticator(service.settings, service.keys, service.rates, service.on_loop, service.threads)
        self._max_body = service.settings.max_body
        self.room = Room(self._max_body * MAX_RECEIVED, self._max_body * MAX_RECEIVED // SHARE)

    def is_ours(self, method: str, path: str) -> bool:
        """The route of it; also what is no route."""
        if self._all_ours:
            return True
        try:
            return is_described(self._views[self._routes.match(method, path)[0]])
        except HTTPException:
            return True

    async def start(self) -> None:
        self._warming = asyncio.get_running_loop().create_task(self.service.warm())

    async def stop(self) -> None:
        self._warming.cancel()
        await asyncio.wait([self._warming])
        await self._admission.close()
        await self.service.waiters.close()

    async def answer(self, context: ApiContext, body: Body) -> Response | Stream:
        """Raises whatever a problem is made of (see api/http/problems.py)."""
        view, operation, arguments = await self._admitted(context)
        if _is_preflight(context):
            return self._allowed(context)
        await self._take_in(context, body)
        before = await accepted_before() if operation.submits else None
        if before:
            return before
        await self._admission.spend(context)
        if context.method == "OPTIONS":
            return self._allowed(context)
        answer = await view(**arguments)
        if context.method in READS:
            self._admission.check_is_valid(context)  # still: it may have waited for a minute
        if isinstance(answer, Stream):
            return answer._replace(chunks=self._while_valid(context, answer.chunks))
        return answer

    def _allowed(self, context: ApiContext) -> Response:
        return Response(b"", 204, [("Allow", ", ".join(self._routes.allowed(context.path)))])

    async def _while_valid(self, context: ApiContext, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """A key that is revoked hears no more."""
        async with aclosing(chunks):
            async for chunk in chunks:
                if not self._admission.is_valid(context):
                    return
                yield chunk

    async def _admitted(self, context: ApiContext) -> tuple[View, Operation, dict[str, Any]]:
        """Whom nobody knows is not told either what there is."""
        try:
            endpoint, arguments = self._routes.match(context.method, context.path)
        except HTTPException as error:
            if not self._is_open(context.path, error):
                await self._admission.enter(context, "any")
            raise
        view = self._views[endpoint]
        operation = operation_of(view)
        await self._admission.enter(context, "open" if _is_preflight(context) else operation.access)
        return view, operation, arguments

    def _is_open(self, path: str, error: HTTPException) -> bool:
        """Whether the path is there for everybody, only not with this method."""
        methods = error.valid_methods or () if isinstance(error, MethodNotAllowed) else ()
        views = [self._views[self._routes.match(method, path)[0]] for method in methods]
        return any(is_described(view) and operation_of(view).access == "open" for view in views)

    async def _take_in(self, context: ApiContext, body: Body) -> None:
        """The whole body and then the turn: one who sends slowly keeps nobody from his. There is room for so many bytes that have
        come and wait for the rest, or for their turn. Raises BodyTooLarge, NoRoom, SlowBody or BodyCut."""
        reads = context.method in READS
        if context.headers.get("content-encoding") not in (None, "", "identity"):
            raise HTTPProblem("unsupported-media-type", "A compressed body (Content-Encoding) is not read: send it as it is.")
        if reads:
            self._turns.note_read()
        try:
            if body.declared != 0:
                context.body = await body.read(self.room, context.caller or context.address, self._max_body)
            if not reads:
                context.turn = await self._turns.take()
        finally:
            body.release()


def _is_preflight(context: ApiContext) -> bool:
    """A browser asks, without a key, whether a page of another origin may call; no answer of ours alone lets it."""
    asks = "origin" in context.headers and "access-control-request-method" in context.headers
    return context.method == "OPTIONS" and asks
