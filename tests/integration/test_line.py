"""Connections to Redis on an event loop: with a password and a database, cut, silent and restored; and channels."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs import channel
from jobs.pipelined_redis import PipelinedRedis
from settings import Settings
from tests.processes import Running, free_port, server_path, until

PASSWORD = "pass word/@"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, Running]]:
    """Start a Redis over TCP with a password. Returns its URL and process."""
    port = free_port()
    command = [str(server_path()), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
    running = Running(command, Settings(), tmp_path, "guarded")
    try:
        until(lambda: listens(port), 10, "it listens")
        yield f"redis://:pass%20word%2F%40@127.0.0.1:{port}/3", running
    finally:
        running.kill()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def in_loop(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_password_and_database_come_before_the_first_command(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        line = PipelinedRedis(guarded[0], 2)
        assert await asyncio.gather(*(line.execute("SET", f"k{n}", n) for n in range(50))) == [b"OK"] * 50
        assert b"db=3" in await line.execute("CLIENT", "LIST")
        with pytest.raises(redis.ResponseError, match="wrong"):
            await line.execute("SET", "one")
        line.close()

    in_loop(talk())
    assert redis.Redis.from_url(guarded[0]).dbsize() == 50


def test_a_wrong_password_is_an_error_of_each_command(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        line = PipelinedRedis(guarded[0].replace("pass%20", "pasta"), 2)
        with pytest.raises(redis.RedisError):
            await line.execute("PING")

    in_loop(talk())


def test_late_reply_or_cut_connection_raises_and_the_next_command_reconnects(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        line, other = PipelinedRedis(guarded[0], 0.3), PipelinedRedis(guarded[0], 5)
        assert await line.execute("PING") == b"PONG"
        with pytest.raises(redis.TimeoutError):
            await line.execute("BLPOP", "nothing", 0)
        assert await line.execute("PING") == b"PONG"
        waits = line.execute("BLPOP", "nothing", 0)
        await other.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(redis.ConnectionError):
            await waits
        assert await line.execute("PING") == b"PONG"
        line.close()
        other.close()

    in_loop(talk())


def test_refused_connection_raises(tmp_path: Path) -> None:
    async def talk() -> None:
        for url in (f"redis://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.sock", f"redis://{'a' * 70}.example"):
            with pytest.raises(redis.ConnectionError):
                await PipelinedRedis(url, 1).execute("PING")

    in_loop(talk())


async def subscribed(url: str, patience: float = 2) -> AsyncGenerator[bytes | None, None]:
    """Subscribe to a channel."""
    pushes = channel.subscribe(url, patience, "news")
    assert await anext(pushes) is None
    return pushes


def test_published_messages_arrive_in_order_after_a_long_silence(
    guarded: tuple[str, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PING_INTERVAL", 0.02)

    async def talk() -> None:
        pushes, other = await subscribed(guarded[0]), PipelinedRedis(guarded[0], 5)
        waiting = asyncio.ensure_future(anext(pushes))
        while b"cmdstat_ping:calls=" not in await other.execute("INFO", "commandstats"):
            assert not waiting.done()
        messages = [f"{n}".encode() + b"\r\n\x00" * n for n in range(300)]
        assert await asyncio.gather(*(other.execute("PUBLISH", "news", each) for each in messages)) == [1] * 300
        await other.execute("PUBLISH", "gossip", "of others")
        assert [await waiting, *[await anext(pushes) for _ in messages[1:]]] == messages
        other.close()
        await pushes.aclose()

    in_loop(talk())


def test_cut_channel_raises(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        pushes, other = await subscribed(guarded[0]), PipelinedRedis(guarded[0], 5)
        waiting = asyncio.ensure_future(anext(pushes))
        await other.execute("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(redis.ConnectionError):
            await waiting
        other.close()

    in_loop(talk())


def test_channel_of_a_frozen_redis_raises(guarded: tuple[str, Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "PING_INTERVAL", 0.05)

    async def talk() -> None:
        pushes = await subscribed(guarded[0], 0.3)
        guarded[1].signal_all(signal.SIGSTOP)
        with pytest.raises(redis.TimeoutError):
            await anext(pushes)

    in_loop(talk())


def test_channel_without_a_server_raises(tmp_path: Path) -> None:
    with pytest.raises(redis.ConnectionError):
        in_loop(subscribed(f"unix://{tmp_path}/none.sock", 1))


def test_canceled_connect_leaves_no_connection(tmp_path: Path) -> None:
    async def talk() -> None:
        ends: list[asyncio.Event] = []

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ends.append(asyncio.Event())
            mine = ends[-1]
            await reader.read()
            writer.close()
            mine.set()

        path = f"{tmp_path}/silent.sock"
        async with await asyncio.start_unix_server(silent, path):
            for turns in range(5):
                waiting = asyncio.ensure_future(anext(channel.subscribe(f"unix://{path}", 5, "news")))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            _, last = await asyncio.open_unix_connection(path)  # after which no connection of theirs is still to be seen
            last.close()
            await last.wait_closed()
            async with asyncio.timeout(5):
                while not ends:
                    await asyncio.sleep(0)
                for end in ends:
                    await end.wait()

    in_loop(talk())
