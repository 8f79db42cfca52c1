"""Sends a request of our own server through Flask. The body is read first, since hooks may need it."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from io import BytesIO
from typing import Any

from flask import Response as FlaskResponse
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from api.application import Application
from api.http.context import ApiContext
from api.http.flask_response import CONTENT_LENGTH, StreamResponse, from_flask, headers_of
from api.http.pipeline import Pipeline
from api.http.wsgi_request import BODY_ERROR, DISCONNECTED
from api.server.body import BodyCut, BodyTooLarge, SlowBody
from api.server.memory_budget import NoRoom, Room
from api.server.request import Request
from api.server.response import Response, Stream

STREAMED = "text/event-stream"
CONNECTION_HEADERS = ("CONTENT_LENGTH", "TRANSFER_ENCODING", "CONNECTION", "UPGRADE", "KEEP_ALIVE")
LOOPBACK_NETWORK = "::/64"  # IPv6 addresses are kept as networks


class ArrivedBody:
    """A body that was read, or the error that reading it raised."""

    def __init__(self, declared: int | None, data: bytes, error: Exception | None) -> None:
        self.declared = declared
        self.data = data
        self.error = error

    async def read(self, room: Room, caller: str, max_bytes: int) -> bytes:  # noqa: ARG002
        if self.error:
            raise self.error
        return self.data

    def release(self) -> None:
        """Does nothing: the body of the request itself is released after the response."""


async def _read_body(pipeline: Pipeline, request: Request) -> ArrivedBody:
    body = request.body
    if body.declared == 0:
        return ArrivedBody(0, b"", None)
    try:
        data = await body.read(pipeline.room, request.address, pipeline.service.settings.max_body)
    except (BodyTooLarge, NoRoom, SlowBody, BodyCut) as error:
        return ArrivedBody(body.declared, b"", error)
    return ArrivedBody(body.declared, data, None)


async def through_flask(app: Application, pipeline: Pipeline, context: ApiContext, request: Request) -> Response | Stream:
    """Runs hooks, error handlers and signals on the event loop."""
    try:
        body = await _read_body(pipeline, request)
        if body.error and not pipeline.is_ours(request.method, request.path):
            raise body.error
        flask_context = app.request_context(_environ(request, body.data))
        flask_context.push()
        failed: BaseException | None = None
        try:
            response = await app.dispatch_on_loop(lambda: pipeline.respond(context, body))
            context.extra_headers = []  # they are in the response
            environ = flask_context.request.environ
            if isinstance(response, StreamResponse):
                chunks = _close_after(response.source.chunks, response)
                return Stream(chunks, headers_of(response, environ), response.status_code)
            if response.is_streamed or response.direct_passthrough:  # from a view of the operator: it may take long
                parts = response.get_app_iter(environ)
                return Stream(_stream(parts, app.callers), headers_of(response, environ), response.status_code)
            answer = from_flask(response, environ)
            response.close()
            return answer
        except BaseException as error:
            failed = error
            raise
        finally:
            flask_context.pop(failed)
    finally:
        request.body.release()


async def _close_after(chunks: AsyncGenerator[bytes, None], response: FlaskResponse) -> AsyncGenerator[bytes, None]:
    """Closes the response after the last chunk, which runs the callbacks of extensions."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    finally:
        response.close()


async def through_wsgi(app: Application, pipeline: Pipeline, request: Request) -> Response | Stream:
    """Calls the application with its middleware in a thread, as a WSGI server does."""
    try:
        body = await _read_body(pipeline, request)
        if body.error and not pipeline.is_ours(request.method, request.path):
            raise body.error
        environ = _environ(request, body.data) | {BODY_ERROR: body.error, DISCONNECTED: request.disconnected}
        loop, threads, call = asyncio.get_running_loop(), app.callers, copy_context().run
        parts, status, headers = await loop.run_in_executor(threads, call, run_wsgi_app, app, environ)
        code, pairs = int(status.partition(" ")[0]), [pair for pair in headers if pair[0].lower() != CONTENT_LENGTH]
        if Headers(pairs).get("Content-Type", "").startswith(STREAMED):
            return Stream(_stream(parts, threads), pairs, code)
        return Response(await loop.run_in_executor(threads, call, _join, parts), code, pairs)
    finally:
        request.body.release()


def _join(parts: Iterable[bytes]) -> bytes:
    try:
        return b"".join(parts)
    finally:
        _close(parts)


def _close(parts: Iterable[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close:
        close()


async def _stream(parts: Iterable[bytes], threads: Executor) -> AsyncGenerator[bytes, None]:
    """Makes each part in a thread, and closes the response at the end or when the client has disconnected."""
    iterator: Iterator[bytes] = iter(parts)
    loop, work = asyncio.get_running_loop(), partial(next, iterator, None)
    running: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            running = loop.run_in_executor(threads, copy_context().run, work)
            part = await asyncio.shield(running)
            if part is None:
                return
            yield part
    finally:
        if running and not running.done():
            running.add_done_callback(lambda _: threads.submit(_close, parts))
        else:
            await loop.run_in_executor(threads, _close, parts)


def _environ(request: Request, body: bytes) -> dict[str, Any]:
    """The WSGI environment of a request (PEP 3333)."""
    host = request.headers.get("host") or "localhost"
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdecimal() else (host, "", "80")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.0" if request.http10 else "HTTP/1.1",
        "REMOTE_ADDR": "::1" if request.address == LOOPBACK_NETWORK else request.address.partition("/")[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for key, value in request.headers.items():
        name = key.upper().replace("-", "_")
        if name == "CONTENT_TYPE":
            environ[name] = value
        elif "_" not in key and name not in CONNECTION_HEADERS:  # a name with "_" could pass for one with "-"
            environ[f"HTTP_{name}"] = value
    return environ
