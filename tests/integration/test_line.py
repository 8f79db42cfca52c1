"""Connections to Redis on an event loop: with a password and a database, cut, silent, and back again; and channels."""

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
    """The URL of a Redis over TCP that asks for a password, and its process."""
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
        assert await asyncio.gather(*(line.ask("SET", f"k{n}", n) for n in range(50))) == [b"OK"] * 50
        assert b"db=3" in await line.ask("CLIENT", "LIST")
        with pytest.raises(redis.ResponseError, match="wrong"):
            await line.ask("SET", "one")
        line.close()

    in_loop(talk())
    assert redis.Redis.from_url(guarded[0]).dbsize() == 50


def test_a_wrong_password_is_an_error_of_each_command(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        line = PipelinedRedis(guarded[0].replace("pass%20", "pasta"), 2)
        with pytest.raises(redis.RedisError):
            await line.ask("PING")

    in_loop(talk())


def test_a_late_reply_and_a_cut_connection_are_told_and_the_next_command_connects_anew(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        line, other = PipelinedRedis(guarded[0], 0.3), PipelinedRedis(guarded[0], 5)
        assert await line.ask("PING") == b"PONG"
        with pytest.raises(redis.TimeoutError):
            await line.ask("BLPOP", "nothing", 0)
        assert await line.ask("PING") == b"PONG"
        waits = line.ask("BLPOP", "nothing", 0)
        await other.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(redis.ConnectionError):
            await waits
        assert await line.ask("PING") == b"PONG"
        line.close()
        other.close()

    in_loop(talk())


def test_nobody_there_is_a_connection_error(tmp_path: Path) -> None:
    async def talk() -> None:
        for url in (f"redis://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.sock", f"redis://{'a' * 70}.example"):
            with pytest.raises(redis.ConnectionError):
                await PipelinedRedis(url, 1).ask("PING")

    in_loop(talk())


async def subscribed(url: str, patience: float = 2) -> AsyncGenerator[bytes | None, None]:
    """A channel that is listened to."""
    pushes = channel.pushes(url, patience, "news")
    assert await anext(pushes) is None
    return pushes


def test_what_is_published_comes_in_order_also_after_a_long_silence(
    guarded: tuple[str, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "SILENCE", 0.02)

    async def talk() -> None:
        pushes, other = await subscribed(guarded[0]), PipelinedRedis(guarded[0], 5)
        waiting = asyncio.ensure_future(anext(pushes))
        while b"cmdstat_ping:calls=" not in await other.ask("INFO", "commandstats"):
            assert not waiting.done()
        told = [f"{n}".encode() + b"\r\n\x00" * n for n in range(300)]
        assert await asyncio.gather(*(other.ask("PUBLISH", "news", each) for each in told)) == [1] * 300
        await other.ask("PUBLISH", "gossip", "of others")
        assert [await waiting, *[await anext(pushes) for _ in told[1:]]] == told
        other.close()
        await pushes.aclose()

    in_loop(talk())


def test_a_channel_that_is_cut_says_so(guarded: tuple[str, Running]) -> None:
    async def talk() -> None:
        pushes, other = await subscribed(guarded[0]), PipelinedRedis(guarded[0], 5)
        waiting = asyncio.ensure_future(anext(pushes))
        await other.ask("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(redis.ConnectionError):
            await waiting
        other.close()

    in_loop(talk())


def test_a_channel_of_a_redis_that_hangs_says_so(guarded: tuple[str, Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SILENCE", 0.05)

    async def talk() -> None:
        pushes = await subscribed(guarded[0], 0.3)
        guarded[1].signal_all(signal.SIGSTOP)
        with pytest.raises(redis.TimeoutError):
            await anext(pushes)

    in_loop(talk())


def test_a_channel_of_nobody_is_a_connection_error(tmp_path: Path) -> None:
    with pytest.raises(redis.ConnectionError):
        in_loop(subscribed(f"unix://{tmp_path}/none.sock", 1))


def test_one_who_leaves_while_it_connects_leaves_no_connection(tmp_path: Path) -> None:
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
                waiting = asyncio.ensure_future(anext(channel.pushes(f"unix://{path}", 5, "news")))
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
