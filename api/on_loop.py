"""A request that our own server has taken, by Flask's way: the body first, since hooks may want it, and then as Flask does."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from contextvars import copy_context
from io import BytesIO
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from api.application import Application
from api.exchange import Exchange
from api.flask_response import COUNTED, answer_of
from api.http.body import BodyCut, BodyTooLarge, SlowBody
from api.http.request import Request
from api.http.response import Answer, Stream
from api.http.room import NoRoom, Room
from api.pipeline import Pipeline
from api.wsgi_request import FAILED

STREAMED = "text/event-stream"
LOOPBACK_NETWORK = "::/64"  # an address of IPv6 is known by its network


class ArrivedBody:
    """What has come of a body, or why it could not be taken."""

    def __init__(self, declared: int | None, data: bytes, error: Exception | None) -> None:
        self.declared = declared
        self.data = data
        self.error = error

    async def read(self, room: Room, caller: str, most: int) -> bytes:  # noqa: ARG002
        if self.error:
            raise self.error
        return self.data

    def release(self) -> None:
        """It is counted until its request is answered."""


async def _arrived(pipeline: Pipeline, request: Request) -> ArrivedBody:
    body = request.body
    if body.declared == 0:
        return ArrivedBody(0, b"", None)
    try:
        data = await body.read(pipeline.room, request.address, pipeline.service.settings.max_body)
    except (BodyTooLarge, NoRoom, SlowBody, BodyCut) as error:
        return ArrivedBody(body.declared, b"", error)
    return ArrivedBody(body.declared, data, None)


async def through_flask(app: Application, pipeline: Pipeline, exchange: Exchange, request: Request) -> Answer | Stream:
    """With hooks, error handlers and signals, on the event loop."""
    try:
        body = await _arrived(pipeline, request)
        context = app.request_context(_environ(request, body.data))
        context.push()
        failed: BaseException | None = None
        try:
            response = await app.dispatch_on_loop(lambda: pipeline.answer(exchange, body))
            exchange.notes = []  # they are in the response
            answer = answer_of(response, context.request.environ)
            if isinstance(answer, Stream):
                return answer._replace(chunks=_then_close(answer.chunks, response))
            response.close()
            return answer
        except BaseException as error:
            failed = error
            raise
        finally:
            context.pop(failed)
    finally:
        request.body.release()


async def _then_close(chunks: AsyncGenerator[bytes, None], response: Response) -> AsyncGenerator[bytes, None]:
    """With what an extension wants called at the end of the response."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    finally:
        response.close()


async def through_wsgi(app: Application, pipeline: Pipeline, request: Request) -> Answer | Stream:
    """With middleware: the application is called as a WSGI server calls it, in a thread."""
    try:
        body = await _arrived(pipeline, request)
        environ = _environ(request, body.data) | ({FAILED: body.error} if body.error else {})
        loop, threads, call = asyncio.get_running_loop(), app.callers, copy_context().run
        parts, status, headers = await loop.run_in_executor(threads, call, run_wsgi_app, app, environ)
        code, pairs = int(status.partition(" ")[0]), [pair for pair in headers if pair[0].lower() != COUNTED]
        if Headers(pairs).get("Content-Type", "").startswith(STREAMED):
            return Stream(_stream(parts, lambda work: loop.run_in_executor(threads, call, work)), pairs, code)
        return Answer(await loop.run_in_executor(threads, call, b"".join, parts), code, pairs)
    finally:
        request.body.release()


async def _stream(parts: Iterable[bytes], do: Callable[..., Any]) -> AsyncGenerator[bytes, None]:
    iterator: Iterator[bytes] = iter(parts)
    try:
        while (part := await do(lambda: next(iterator, None))) is not None:
            yield part
    finally:
        close = getattr(parts, "close", None)
        if close:
            await do(close)


def _environ(request: Request, body: bytes) -> dict[str, Any]:
    """As PEP 3333 has it."""
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
        elif name not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[f"HTTP_{name}"] = value
    return environ
