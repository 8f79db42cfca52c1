"""``python -m tests.faults.crowd_of_connections PORT IDLE HALF_OPEN BODIES``: holds this many connections, and opens those
that the server closes again. Prints a line when all were open once, and ends with its input."""

import asyncio
import itertools
import os
import resource
import sys
from collections.abc import Awaitable, Callable

from tests.wire import HOST, LIVE

PAUSE = 1.0  # seconds before a client that was closed comes back
ADDRESSES = 50  # beside the first, which half of them come from
DRIBBLE = 0.5  # seconds between two bytes
DECLARED = 10_000_000  # bytes

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one request and then nothing."""
    writer.write(LIVE)
    while await reader.read(4096):
        pass


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a head that never ends."""
    writer.write(b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Slow: ")
    await _dribble(reader, writer)


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n[" % DECLARED)
    await _dribble(reader, writer)


async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ended = asyncio.ensure_future(reader.read(4096))
    while not (await asyncio.wait([ended], timeout=DRIBBLE))[0]:
        writer.write(b" ")
        await writer.drain()


class Crowd:
    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._size = size
        self._addresses = itertools.cycle(range(2 * ADDRESSES))
        self._arrived = 0
        self._closed = 0

    async def come_again(self, talk: Talk) -> None:
        """Connect again and again, the first half of the clients from one address."""
        number = next(self._addresses)
        address = f"127.0.1.{max(1, number - ADDRESSES + 2)}"
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0), limit=4096)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            self._arrive(first)
            first = False
            try:
                await talk(reader, writer)
            except OSError:
                pass
            finally:
                writer.close()
            self._closed += 1
            await asyncio.sleep(PAUSE)

    def _arrive(self, first: bool) -> None:
        self._arrived += first
        if first and self._arrived == self._size:
            print("all came", flush=True)

    async def stay(self, talks: list[tuple[Talk, int]]) -> None:
        clients = [asyncio.ensure_future(self.come_again(talk)) for talk, many in talks for _ in range(many)]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(self._closed, flush=True)
        for client in clients:
            client.cancel()
        os._exit(0)  # the kernel closes thousands of connections faster


def main() -> None:
    port, idlers, halves, bodies = map(int, sys.argv[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    talks: list[tuple[Talk, int]] = [
        (idle, idlers // 2),
        (silent, idlers - idlers // 2),
        (half_open, halves),
        (slow_body, bodies),
    ]
    asyncio.run(Crowd(port, idlers + halves + bodies).stay(talks))


if __name__ == "__main__":
    main()
