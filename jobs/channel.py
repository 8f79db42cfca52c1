"""A subscription to a Redis channel on an event loop. It has its own connection: redis-py takes 200 µs for each message."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from jobs.pipelined_redis import PipelinedRedis
from jobs.redis_connection import UNREACHABLE

log = logging.getLogger("mldeploy.channel")

RECONNECT_INTERVAL = 0.2  # seconds

PING_INTERVAL = 3.0  # seconds without a message before a ping checks the connection


async def listen(
    url: str, timeout: float, name: str, on_message: Callable[[bytes | None], None], on_loss: Callable[[], None] | None = None
) -> None:
    """Subscribe until this task is canceled, and again whenever the connection is lost. ``on_message`` gets None each time that
    the subscription becomes active, and then each message; ``on_loss`` is called when it is no longer active."""
    while True:
        try:
            async for message in subscribe(url, timeout, name):
                on_message(message)
        except UNREACHABLE as error:
            log.warning("the connection to the channel %s was lost: %s", name, error)
        except Exception:
            log.exception("the channel %s failed", name)
        if on_loss:
            on_loss()
        await asyncio.sleep(RECONNECT_INTERVAL)


async def subscribe(url: str, timeout: float, name: str) -> AsyncGenerator[bytes | None, None]:
    """Yield None once the subscription is active, and then each message. Raises redis.ConnectionError or redis.TimeoutError when
    the connection is lost, or when Redis does not answer a ping within ``timeout`` seconds."""
    messages = asyncio.Queue[bytes | Exception]()
    connection = PipelinedRedis(url, timeout, messages.put_nowait)
    try:
        await connection.execute("SUBSCRIBE", name)
        yield None
        while True:
            try:
                async with asyncio.timeout(PING_INTERVAL):
                    message = await messages.get()
            except TimeoutError:
                await connection.execute("PING")
                continue
            if isinstance(message, Exception):
                raise message
            yield message
    finally:
        connection.close()
