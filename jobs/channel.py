"""A subscription to a Redis channel on an event loop. It has its own connection: redis-py takes 200 µs for each message."""

import asyncio
from collections.abc import AsyncGenerator

from jobs.pipelined_redis import PipelinedRedis

PING_INTERVAL = 3.0  # seconds without a message before a ping checks the connection


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
