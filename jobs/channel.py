"""What others publish, on an event loop: a line of its own, for redis-py's takes 200 µs for each message."""

import asyncio
from collections.abc import AsyncGenerator

from jobs.pipelined_redis import PipelinedRedis

SILENCE = 3.0  # seconds after which to ask whether anybody is there


async def pushes(url: str, patience: float, name: str) -> AsyncGenerator[bytes | None, None]:
    """What comes over the channel. First None, once it is listened to. Raises redis.ConnectionError or redis.TimeoutError when
    it is cut, or a ping is not answered within ``patience`` seconds."""
    heard = asyncio.Queue[bytes | Exception]()
    line = PipelinedRedis(url, patience, heard.put_nowait)
    try:
        await line.ask("SUBSCRIBE", name)
        yield None
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    data = await heard.get()
            except TimeoutError:
                await line.ask("PING")
                continue
            if isinstance(data, Exception):
                raise data
            yield data
    finally:
        line.close()
