"""The steps of a request for one of our routes: authentication, reading the body, the write throttle, idempotency, the view.

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
from api.http.router import Router
from api.http.write_throttle import WriteThrottle
from api.server.memory_budget import Room
from api.server.response import Response, Stream
from api.service import Service

MAX_RECEIVED = 25  # times the largest body: the limit of all bodies being received
CALLER_SHARE = 2  # one caller may use this fraction of it: 1 / 2

READ_METHODS = ("GET", "HEAD", "OPTIONS")

View = Callable[..., Awaitable[Response | Stream]]


class Body(Protocol):
    """The body of a request. ``declared``: its length in bytes, None if unknown."""

    @property
    def declared(self) -> int | None: ...

    async def read(self, room: Room, caller: str, max_bytes: int) -> bytes:
        """Reads the whole body; to be called once. Raises BodyTooLarge, NoRoom, SlowBody or BodyCut."""

    def release(self) -> None:
        """Returns the bytes to the memory budget."""


class Pipeline:
    """All methods must be called on the same event loop."""

    def __init__(self, app: Flask, service: Service) -> None:
        self.service = service
        self._views: dict[str, View] = app.view_functions  # type: ignore[assignment]
        self._all_ours = all(map(is_described, self._views.values()))
        self._router = Router(app.url_map)
        self._write_throttle = WriteThrottle()
        self._authenticator = Authenticator(service.settings, service.keys, service.rates, service.async_ledger, service.threads)
        self._max_body = service.settings.max_body
        self.room = Room(self._max_body * MAX_RECEIVED, self._max_body * MAX_RECEIVED // CALLER_SHARE)

    def is_ours(self, method: str, path: str) -> bool:
        """Whether the route is one of ours, or there is no such route."""
        if self._all_ours:
            return True
        try:
            return is_described(self._views[self._router.match(method, path)[0]])
        except HTTPException:
            return True

    async def start(self) -> None:
        self._warming = asyncio.get_running_loop().create_task(self.service.warm())

    async def stop(self) -> None:
        self._warming.cancel()
        await asyncio.wait([self._warming])
        await self._authenticator.close()
        await self.service.waiters.close()

    async def respond(self, context: ApiContext, body: Body) -> Response | Stream:
        """Runs all steps for a request. Raises errors that become problems (see api/http/problems.py)."""
        view, operation, arguments = await self._authenticated_view(context)
        if _is_preflight(context):
            return self._allowed_methods(context)
        await self._receive_body(context, body)
        replayed = await accepted_before() if operation.submits else None
        if replayed:
            return replayed
        await self._authenticator.spend_token(context)
        if context.method == "OPTIONS":
            return self._allowed_methods(context)
        response = await view(**arguments)
        if context.method in READ_METHODS:
            self._authenticator.check_is_valid(context)  # again, since the view may have waited for a minute
        if isinstance(response, Stream):
            return response._replace(chunks=self._while_valid(context, response.chunks))
        return response

    def _allowed_methods(self, context: ApiContext) -> Response:
        return Response(b"", 204, [("Allow", ", ".join(self._router.allowed(context.path)))])

    async def _while_valid(self, context: ApiContext, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Ends the stream when the key was revoked."""
        async with aclosing(chunks):
            async for chunk in chunks:
                if not self._authenticator.is_valid(context):
                    return
                yield chunk

    async def _authenticated_view(self, context: ApiContext) -> tuple[View, Operation, dict[str, Any]]:
        """Finds the view of a request and authenticates its caller. A caller without a key does not learn which routes exist."""
        try:
            endpoint, arguments = self._router.match(context.method, context.path)
        except HTTPException as error:
            if not self._is_open(context.path, error):
                await self._authenticator.authenticate(context, "any")
            raise
        view = self._views[endpoint]
        operation = operation_of(view)
        await self._authenticator.authenticate(context, "open" if _is_preflight(context) else operation.access)
        return view, operation, arguments

    def _is_open(self, path: str, error: HTTPException) -> bool:
        """Whether the path is open to everybody with another method."""
        methods = error.valid_methods or () if isinstance(error, MethodNotAllowed) else ()
        views = [self._views[self._router.match(method, path)[0]] for method in methods]
        return any(is_described(view) and operation_of(view).access == "open" for view in views)

    async def _receive_body(self, context: ApiContext, body: Body) -> None:
        """Reads the whole body and then waits for a write slot, so that a slow client holds no slot. The bytes count against the
        memory budget meanwhile. Raises BodyTooLarge, NoRoom, SlowBody or BodyCut."""
        reads = context.method in READ_METHODS
        if context.headers.get("content-encoding") not in (None, "", "identity"):
            raise HTTPProblem("unsupported-media-type", "A compressed body (Content-Encoding) is not read: send it as it is.")
        if reads:
            self._write_throttle.note_read()
        try:
            if body.declared != 0:
                context.body = await body.read(self.room, context.caller or context.address, self._max_body)
            if not reads:
                context.write_slot = await self._write_throttle.acquire()
        finally:
            body.release()


def _is_preflight(context: ApiContext) -> bool:
    """Whether a browser asks, without a key, if a page of another origin may call. The headers of the response allow
    it (api/http/cors.py, or a hook of the operator)."""
    asks_for_access = "origin" in context.headers and "access-control-request-method" in context.headers
    return context.method == "OPTIONS" and asks_for_access
