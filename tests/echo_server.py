"""Our HTTP server, with an application that returns the request, on a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import msgspec
import uvloop

from api.server.body import BodyCut, BodyTooLarge, SlowBody
from api.server.connection import Connection
from api.server.connections import Connections
from api.server.limits import Limits
from api.server.memory_budget import NoRoom, Room
from api.server.request import BadRequest, Request
from api.server.response import Response, Stream
from api.server.timeouts import Deadlines

MAX_BODY = 100_000
LIMITS = Limits(connections=1000, per_address=1000, header_timeout=10.0, idle_timeout=10.0, body_pace=1000, grace=10.0)


class Echo:
    """``/large`` returns as many bytes as its query says, ``/stream`` the same in chunks, any other path the request itself."""

    def __init__(self) -> None:
        self._room = Room(100 * MAX_BODY, 100 * MAX_BODY)
        self.streams = 0  # that have not ended

    async def respond(self, request: Request) -> Response | Stream:
        if request.path == "/large":
            return Response(b"x" * int(request.query), 200, [])
        if request.path == "/stream":
            return Stream(self._chunks(int(request.query)), [])
        if request.path == "/unread":
            return Response(b"", 404, [])
        try:
            body = await request.body.read(self._room, request.address, MAX_BODY)
        except (BadRequest, BodyTooLarge, NoRoom, SlowBody, BodyCut) as error:
            return self.refuse(type(error).__name__, "")
        finally:
            request.body.release()
        headers = {name: request.headers.get_all(name) for name in ("host", "x-a", "x-b", "content-type")}
        return Response(msgspec.json.encode([request.method, request.path, request.query, headers, body]), 200, [])

    def refuse(self, code: str, detail: str) -> Response:  # noqa: ARG002
        return Response(code.encode(), 400, [])

    async def _chunks(self, size: int) -> AsyncGenerator[bytes, None]:
        self.streams += 1
        try:
            for _ in range(0, size, 1000):
                yield b"x" * 1000
        finally:
            self.streams -= 1


@contextmanager
def echo_server(limits: Limits = LIMITS, echo: Echo | None = None) -> Iterator[int]:
    """Yield its port."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    loop, ready, port, over = runner.get_loop(), threading.Event(), list[int](), asyncio.Event()

    async def serve() -> None:
        connections = Connections(limits)
        deadlines = Deadlines(limits, connections)
        served = echo or Echo()
        server = await loop.create_server(lambda: Connection(served, connections, deadlines), "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await over.wait()
        server.close()
        for member in list(connections.all):
            member.abort()
        deadlines.close()

    thread = threading.Thread(target=runner.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield port[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        runner.close()
