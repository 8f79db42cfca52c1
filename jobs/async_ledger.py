"""The ledger on an event loop: the same scripts, for those who submit and ask in great numbers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from jobs import replies
from jobs.connection import Breaker, options
from jobs.errors import LedgerError
from jobs.job import Job, Record
from jobs.ledger import Ledger
from jobs.line import Line, settle
from jobs.reading import WHATEVER, Reading
from jobs.replies import Accepted, Rings

HEARTBEAT = 3.0  # seconds; a channel silent for twice as long is cut and made anew


class AsyncLedger:
    """All calls raise LedgerUnavailable when Redis does not answer in time. To be used on one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        settings = ledger.settings
        self._ledger = ledger
        self._breaker = Breaker(settings.redis_connections, settings.redis_timeout)
        self._line = Line(settings.redis_url, settings.redis_timeout)
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        self._pushes = redis.asyncio.Redis.from_url(settings.redis_url, retry=retry, **options(settings))

    async def add(self, jobs: Sequence[Job]) -> tuple[list[Accepted | LedgerError], Rings]:
        """As Ledger.add."""
        if not self._ledger.knows_time:
            seconds, micros = await self._breaker.acall(lambda: self._ask("TIME"))
            self._ledger.note_time(int(seconds) * 1000 + int(micros) // 1000)
        return self._ledger.added(await self._run(*self._ledger.add_call(jobs)))

    async def get_many(self, job_ids: Sequence[str], room: int = WHATEVER) -> list[Record | None]:
        """As Ledger.get_many."""
        reading = Reading(job_ids, room)
        while call := reading.next():
            reading.take(await self._run("read", call))
        return reading.records()

    async def accepted_before(self, caller: str, key: str) -> tuple[str, str] | None:
        """The id of the job that was accepted under this (hashed) Idempotency-Key, and the fingerprint of its request."""
        name = self._ledger.key_of(caller, key)
        return replies.known_key(await self._breaker.acall(lambda: self._ask("GET", name)))

    async def ends(self) -> AsyncIterator[list[tuple[str, Record | None]]]:
        """Jobs as they become final, without a record if that is large. First an empty list: whatever ended before that was
        not heard. Raises as ``pushes``."""
        async for data in self.pushes(self._ledger.finals_channel):
            yield [] if data is None else list(replies.pushed(data))

    async def pushes(self, name: str) -> AsyncIterator[bytes | None]:
        """What comes over a channel. First None, once it is listened to. Raises redis.ConnectionError, redis.TimeoutError or
        OSError when the channel is cut."""
        async with self._pushes.pubsub() as channel:
            await channel.subscribe(name)
            heard = time.monotonic()
            while True:
                message = await channel.get_message(timeout=HEARTBEAT)
                if message is not None:
                    heard = time.monotonic()
                elif time.monotonic() - heard > 2 * HEARTBEAT:
                    raise redis.ConnectionError("no answer to a ping")
                else:
                    await channel.ping()
                    continue
                if message["type"] == "subscribe":
                    yield None
                elif message["type"] == "message":
                    yield message["data"]

    async def close(self) -> None:
        self._line.close()
        await asyncio.sleep(0)  # in which its socket is closed
        await self._pushes.aclose()

    async def _run(self, name: str, arguments: list[Any]) -> Any:
        script, prefix = self._ledger.script(name), self._ledger.prefix

        async def run() -> Any:
            try:
                return await self._ask("EVALSHA", script.sha, 1, prefix, *arguments)
            except NoScriptError:
                return await self._ask("EVAL", script.script, 1, prefix, *arguments)

        return await self._breaker.acall(run)

    def _ask(self, *command: Any) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        self._line.send(command, partial(settle, answer))
        return answer
