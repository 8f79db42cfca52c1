"""A TCP relay that can be slow, reset connections, or lose everything."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BUFFER = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST
MAX_QUEUED = 1000  # chunks of one direction that are on their way


class Network:
    """Carries TCP connections to ``target_port`` on this machine, on a thread of its own; at first without faults. Use as a
    context manager."""

    def __init__(self, target_port: int) -> None:
        self.chunks = 0
        self.resets = 0
        self.swallowed = 0  # chunks
        self._target_port = target_port
        self._delay = 0.0  # seconds, in each direction
        self._reset_share = 0.0
        self._random = random.Random(7)
        self._in_hole = False
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    def __enter__(self) -> "Network":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Lose everything that is sent, without a reset. Connections that were open or are made meanwhile never work again."""
        self._loop.call_soon_threadsafe(self._open_hole)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._close_hole)

    def become(self, latency: float, reset_share: float) -> None:
        """Set the faults. ``latency``: seconds from a request to its reply, half in each direction. ``reset_share``: share of
        the chunks from either side at which the connection is reset."""
        self._delay, self._reset_share = latency / 2, reset_share

    def _open_hole(self) -> None:
        self._in_hole = True
        for connection in self._connections:
            connection.lost = True

    def _close_hole(self) -> None:
        self._in_hole = False

    async def _run(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        await self._over.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer, self._in_hole)
        self._connections.add(connection)
        try:
            if connection.lost:
                await self._pump(connection, reader, None)
                return
            with suppress(OSError):
                there, connection.service = await asyncio.open_connection("127.0.0.1", self._target_port)
                pumps = self._pump(connection, reader, connection.service), self._pump(connection, there, writer)
                await asyncio.gather(*pumps)
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _pump(self, connection: "_Connection", reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        """Carry one direction until its end. Data of a lost connection is read and discarded."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_QUEUED)
        sender = asyncio.create_task(self._send(connection, queue, writer)) if writer else None
        try:
            with suppress(ConnectionError):
                while data := await reader.read(BUFFER):
                    self.chunks += 1
                    if connection.lost or sender is None:
                        self.swallowed += 1
                    elif self._random.random() < self._reset_share:
                        self.resets += 1
                        connection.reset()
                        return
                    else:
                        await queue.put((self._loop.time() + self._delay, data))
            await queue.put((self._loop.time() + self._delay, b""))
            if sender:
                await sender
        finally:
            if sender:
                sender.cancel()

    async def _send(
        self, connection: "_Connection", queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if connection.lost:
                self.swallowed += bool(data)
                await self._over.wait()  # the other side does not even see the close
            if not data:
                writer.close()
                return
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, lost: bool) -> None:
        self.lost = lost
        self.service: asyncio.StreamWriter | None = None
        self._client = client

    def reset(self) -> None:
        for writer in self._ends():
            sock = writer.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def close(self) -> None:
        for writer in self._ends():
            writer.transport.abort()

    def _ends(self) -> list[asyncio.StreamWriter]:
        return [self._client, *([self.service] if self.service else [])]
