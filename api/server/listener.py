"""One server process: its event loop, its socket, and its graceful stop."""

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Protocol

import uvloop

from api.server.connection import Application, Connection
from api.server.connections import Connections
from api.server.limits import Limits
from api.server.timeouts import Deadlines

BACKLOG = 2048
DRAIN_POLL_INTERVAL = 0.02  # seconds


class Server(Application, Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def bind(host: str, port: int, shared: bool) -> socket.socket:
    """``shared``: several processes listen on the port, each with its own socket (SO_REUSEPORT). Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def serve(make: Callable[[], Server], limits: Limits, sock: socket.socket, drain: float) -> None:
    """Serves until SIGTERM or SIGINT. ``make`` is called on the event loop. ``drain``: seconds for pending responses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(make, limits, sock, drain))


async def _serve(make: Callable[[], Server], limits: Limits, sock: socket.socket, drain: float) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    application, connections = make(), Connections(limits)
    deadlines = Deadlines(limits, connections)
    await application.start()
    server = await loop.create_server(lambda: Connection(application, connections, deadlines), sock=sock, backlog=BACKLOG)
    await stopped.wait()
    server.close()
    await _drain(connections, drain)
    deadlines.close()
    await application.stop()


async def _drain(connections: Connections, seconds: float) -> None:
    """Waits for pending responses, then aborts the connections that are left."""
    loop = asyncio.get_running_loop()
    connections.drain()
    end = loop.time() + seconds
    while connections.all and loop.time() < end:
        await asyncio.sleep(DRAIN_POLL_INTERVAL)
    for member in list(connections.all):
        member.abort()
