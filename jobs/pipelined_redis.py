"""A connection to Redis on an event loop: commands are written at once, and each reply goes to its command's callback, in order.

redis-py's own connection takes several iterations of the loop and 200 µs for each command, which was a fifth of an API process's
time under load (docs/performance.md). hiredis packs and parses, as it does for redis-py; redis-py parses the URL.
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

Callback = Callable[[Any], None]  # gets the reply, or the error in its place

CHECK_INTERVAL = 0.1  # seconds between checks of the oldest command for a time-out


class PipelinedRedis(asyncio.Protocol):
    """``timeout``: seconds for one reply. A late reply closes the connection; the next command opens a new one. ``on_message``
    gets the messages of subscribed channels, and the error that ends the connection."""

    def __init__(self, url: str, timeout: float, on_message: Callable[[bytes | Exception], None] | None = None) -> None:
        self._options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._timeout = timeout
        self._on_message = on_message
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reader = hiredis.Reader()
        self._unsent: list[tuple[tuple[Any, ...], Callback]] = []
        self._awaited: deque[tuple[float, Callback]] = deque()  # (time of sending, callback)

    def send(self, command: tuple[Any, ...], callback: Callback) -> None:
        """``callback`` gets the reply, a redis.ResponseError, or a redis.ConnectionError or TimeoutError."""
        if self._transport is None:
            self._unsent.append((command, callback))
            if self._connecting is None:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        self._write(command, callback)

    def execute(self, *command: Any) -> "asyncio.Future[Any]":
        """Send a command. The future resolves to the reply, or fails with the error that ``send`` passes to the callback."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(command, partial(settle, future))
        return future

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        self._disconnect(redis.ConnectionError("closed by this client"))

    def _write(self, command: tuple[Any, ...], callback: Callback) -> None:
        assert self._transport is not None
        self._awaited.append((asyncio.get_running_loop().time(), callback))
        self._transport.write(hiredis.pack_command(command))

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._open()
        except Exception as error:  # noqa: BLE001 - every waiting callback gets it
            self._disconnect(error if isinstance(error, redis.RedisError) else redis.ConnectionError(f"no connection: {error}"))
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
        loop.call_later(CHECK_INTERVAL, self._check_timeout, self._transport)
        await self._authenticate()
        unsent, self._unsent = self._unsent, []
        for command, callback in unsent:
            self._write(command, callback)

    async def _authenticate(self) -> None:
        """Log in and select the database. Raises redis.ResponseError."""
        o, commands = self._options, list[tuple[Any, ...]]()
        if o.get("password"):
            commands.append(("AUTH", *([o["username"]] if o.get("username") else []), o["password"]))
        if o.get("db"):
            commands.append(("SELECT", o["db"]))
        replies = [self._execute_now(command) for command in commands]  # written now, before any other command
        for reply in await asyncio.gather(*replies, return_exceptions=True):
            if isinstance(reply, BaseException):
                raise reply

    def _execute_now(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._write(command, partial(settle, future))
        return future

    def _check_timeout(self, transport: asyncio.Transport) -> None:
        if transport is not self._transport:
            return
        loop = asyncio.get_running_loop()
        if self._awaited and loop.time() - self._awaited[0][0] > self._timeout:
            self._disconnect(redis.TimeoutError(f"no reply within {self._timeout:g} s"))
        else:
            loop.call_later(CHECK_INTERVAL, self._check_timeout, transport)

    def _disconnect(self, error: Exception) -> None:
        """Close the connection, and pass the error to all waiting callbacks."""
        transport, self._transport = self._transport, None
        if transport:
            transport.abort()
        callbacks = [callback for _, callback in self._awaited] + [callback for _, callback in self._unsent]
        self._awaited.clear()
        self._unsent.clear()
        for callback in callbacks:
            callback(error)
        if self._on_message:
            self._on_message(error)

    # Called by the event loop

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if self._on_message and isinstance(reply, list) and reply[0] == b"message":
                    self._on_message(reply[2])
                    continue
                _, callback = self._awaited.popleft()
                callback(_error(reply) if isinstance(reply, hiredis.ReplyError) else reply)
        except hiredis.ProtocolError as error:
            self._disconnect(redis.ConnectionError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None and self._transport.is_closing():
            self._disconnect(redis.ConnectionError(f"the connection was lost: {exc or 'closed by Redis'}"))


def _secure(o: dict[str, Any]) -> ssl.SSLContext:
    """The TLS context for the URL's options, as redis-py understands them."""
    context = ssl.create_default_context(cafile=o.get("ssl_ca_certs"), capath=o.get("ssl_ca_path"))
    if str(o.get("ssl_check_hostname", True)).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if o.get("ssl_cert_reqs") in ("none", "optional"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if o["ssl_cert_reqs"] == "none" else ssl.CERT_OPTIONAL
    if o.get("ssl_certfile"):
        context.load_cert_chain(o["ssl_certfile"], o.get("ssl_keyfile"), o.get("ssl_password"))
    return context


def settle(future: "asyncio.Future[Any]", reply: Any) -> None:
    """Resolve the future with a reply, or fail it with an exception; do nothing if it was canceled."""
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def _error(reply: Exception) -> redis.RedisError:
    """The exception that redis-py raises for this error."""
    text = str(reply)
    if text.startswith("NOSCRIPT"):
        return redis.exceptions.NoScriptError(text)
    if text.startswith("ERR max number of clients"):
        return redis.ConnectionError(text)
    if text.startswith("OOM"):
        return redis.exceptions.OutOfMemoryError(text)
    return redis.ResponseError(text)
