"""The ledger on an event loop: the same scripts, for those who submit and ask in great numbers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from jobs import codec
from jobs.channel import pushes
from jobs.codec import Accepted, Wakeups
from jobs.condition import Observation, observation
from jobs.errors import LedgerError
from jobs.job import Job, Record
from jobs.ledger import Ledger, ledger_time
from jobs.pipelined_redis import PipelinedRedis
from jobs.record_reader import WHATEVER, Reading
from jobs.redis_connection import Breaker


class AsyncLedger:
    """All calls raise LedgerUnavailable when Redis does not answer in time. To be used on one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        settings = ledger.settings
        self._ledger = ledger
        self._breaker = Breaker(settings.redis_connections, settings.redis_timeout)
        self._line = PipelinedRedis(settings.redis_url, settings.redis_timeout)

    async def add(self, jobs: Sequence[Job]) -> tuple[list[Accepted | LedgerError], Wakeups]:
        """As Ledger.add."""
        if not self._ledger.knows_time:
            await self._breaker.acall(self._ask_time)
        since = time.monotonic()
        reply = await self._run(*self._ledger.add_call(jobs))
        if codec.is_late(reply) and time.monotonic() - since < self._ledger.settings.redis_timeout:
            self._ledger.note_time(reply[0])  # not late: the clock was set meanwhile, and nothing was accepted
            reply = await self._run(*self._ledger.add_call(jobs))
        return self._ledger.added(reply)

    async def _ask_time(self) -> None:
        told = await self._line.ask("TIME")
        self._ledger.note_time(ledger_time(told, await self._line.ask("HGET", self._ledger.prefix + "clock", "ahead")))

    async def get_many(self, job_ids: Sequence[str], room: int = WHATEVER) -> list[Record | None]:
        """As Ledger.get_many."""
        reading = Reading(job_ids, room)
        while call := reading.next():
            reading.take(await self._run("read", call))
        return reading.records()

    async def accepted_before(self, caller: str, key: str) -> tuple[str, str] | None:
        """The id of the job that was accepted under this (hashed) Idempotency-Key, and the fingerprint of its request."""
        name = self._ledger.key_of(caller, key)
        return codec.known_key(await self._breaker.acall(lambda: self._line.ask("GET", name)))

    async def observe(self) -> Observation:
        """As Ledger.observe."""
        return observation(await self._run(*self._ledger.observe_call()))

    async def ends(self) -> AsyncIterator[list[tuple[str, Record | None]]]:
        """Jobs as they become final, without a record if that is large. First an empty list: whatever ended before that was
        not heard. Raises as ``pushes``."""
        async for data in self.pushes(self._ledger.finals_channel):
            yield [] if data is None else list(codec.pushed(data))

    def pushes(self, name: str) -> AsyncIterator[bytes | None]:
        """As channel.pushes."""
        settings = self._ledger.settings
        return pushes(settings.redis_url, settings.redis_timeout, name)

    async def close(self) -> None:
        self._line.close()
        await asyncio.sleep(0)  # in which its socket is closed

    async def _run(self, name: str, arguments: list[Any]) -> Any:
        script, prefix = self._ledger.script(name), self._ledger.prefix

        async def run() -> Any:
            try:
                return await self._line.ask("EVALSHA", script.sha, 1, prefix, *arguments)
            except NoScriptError:
                return await self._line.ask("EVAL", script.script, 1, prefix, *arguments)

        return await self._breaker.acall(run)
