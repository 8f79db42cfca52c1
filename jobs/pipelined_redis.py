"""A connection to Redis on an event loop: commands are written as they come, replies are told in order by calling back.

redis-py's own takes several turns of the loop and 200 µs for each command, which was a fifth of an API process's time under
load (docs/performance.md). hiredis packs and parses here as it does there; redis-py reads the URL.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import hiredis
import redis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

Told = Callable[[Any], None]  # with a reply, or the error that came in its place

TICK = 0.1  # seconds between looks at the oldest command


class PipelinedRedis(asyncio.Protocol):
    """``patience``: seconds for one reply. One that is late cuts the connection; the next command makes it anew. ``heard`` gets
    what is published on channels that were subscribed to, and the error that ends it."""

    def __init__(self, url: str, patience: float, heard: Callable[[bytes | Exception], None] | None = None) -> None:
        self._options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._patience = patience
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reader = hiredis.Reader()
        self._unsent: list[tuple[tuple[Any, ...], Told]] = []
        self._awaited: deque[tuple[float, Told]] = deque()  # since when, who is to be told

    def send(self, command: tuple[Any, ...], told: Told) -> None:
        """``told`` gets the reply, a redis.ResponseError, or a redis.ConnectionError or TimeoutError."""
        if self._transport is None:
            self._unsent.append((command, told))
            if self._connecting is None:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        self._write(command, told)

    def ask(self, *command: Any) -> "asyncio.Future[Any]":
        """The reply; raises what ``told`` gets in its place."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(command, partial(settle, answer))
        return answer

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        self._hang_up(redis.ConnectionError("closed here"))

    def _write(self, command: tuple[Any, ...], told: Told) -> None:
        assert self._transport is not None
        self._awaited.append((asyncio.get_running_loop().time(), told))
        self._transport.write(hiredis.pack_command(command))

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._open()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._hang_up(error if isinstance(error, redis.RedisError) else redis.ConnectionError(f"no connection: {error}"))
        finally:
            self._connecting = None

    async def _open(self) -> None:
        loop, o = asyncio.get_running_loop(), self._options
        self._reader = hiredis.Reader()
        if o.get("connection_class") is UnixDomainSocketConnection:
            transport, _ = await loop.create_unix_connection(lambda: self, o["path"])
        else:
            secure = _secure(o) if o.get("connection_class") is SSLConnection else None
            transport, _ = await loop.create_connection(lambda: self, o.get("host", "localhost"), o.get("port", 6379), ssl=secure)
        self._transport = transport
        loop.call_later(TICK, self._look, self._transport)
        await self._introduce()
        unsent, self._unsent = self._unsent, []
        for command, told in unsent:
            self._write(command, told)

    async def _introduce(self) -> None:
        """Raises redis.ResponseError."""
        o, commands = self._options, list[tuple[Any, ...]]()
        if o.get("password"):
            commands.append(("AUTH", *([o["username"]] if o.get("username") else []), o["password"]))
        if o.get("db"):
            commands.append(("SELECT", o["db"]))
        replies = [self._asked(command) for command in commands]  # all are written now, before any other command
        for reply in await asyncio.gather(*replies, return_exceptions=True):
            if isinstance(reply, BaseException):
                raise reply

    def _asked(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._write(command, partial(settle, answer))
        return answer

    def _look(self, transport: asyncio.Transport) -> None:
        if transport is not self._transport:
            return
        loop = asyncio.get_running_loop()
        if self._awaited and loop.time() - self._awaited[0][0] > self._patience:
            self._hang_up(redis.TimeoutError(f"no reply within {self._patience:g} s"))
        else:
            loop.call_later(TICK, self._look, transport)

    def _hang_up(self, error: Exception) -> None:
        """All who wait are told."""
        transport, self._transport = self._transport, None
        if transport:
            transport.abort()
        told = [who for _, who in self._awaited] + [who for _, who in self._unsent]
        self._awaited.clear()
        self._unsent.clear()
        for who in told:
            who(error)
        if self._heard:
            self._heard(error)

    # Called by the event loop

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if self._heard and isinstance(reply, list) and reply[0] == b"message":
                    self._heard(reply[2])
                    continue
                _, told = self._awaited.popleft()
                told(_error(reply) if isinstance(reply, hiredis.ReplyError) else reply)
        except hiredis.ProtocolError as error:
            self._hang_up(redis.ConnectionError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None and self._transport.is_closing():
            self._hang_up(redis.ConnectionError(f"the connection was lost: {exc or 'closed by Redis'}"))


def _secure(o: dict[str, Any]) -> ssl.SSLContext:
    """As redis-py understands the URL's options."""
    context = ssl.create_default_context(cafile=o.get("ssl_ca_certs"), capath=o.get("ssl_ca_path"))
    if str(o.get("ssl_check_hostname", True)).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if o.get("ssl_cert_reqs") in ("none", "optional"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if o["ssl_cert_reqs"] == "none" else ssl.CERT_OPTIONAL
    if o.get("ssl_certfile"):
        context.load_cert_chain(o["ssl_certfile"], o.get("ssl_keyfile"), o.get("ssl_password"))
    return context


def settle(answer: "asyncio.Future[Any]", reply: Any) -> None:
    """Give a reply to whoever awaits it; one who has left does not mind."""
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


def _error(reply: Exception) -> redis.RedisError:
    """As redis-py names it."""
    text = str(reply)
    if text.startswith("NOSCRIPT"):
        return redis.exceptions.NoScriptError(text)
    if text.startswith("ERR max number of clients"):
        return redis.ConnectionError(text)
    if text.startswith("OOM"):
        return redis.exceptions.OutOfMemoryError(text)
    return redis.ResponseError(text)
