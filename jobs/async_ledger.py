"""The ledger on an event loop: the same scripts, for callers that submit and read many jobs at once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from jobs import codec
from jobs.channel import listen
from jobs.codec import Accepted, Wakeups
from jobs.condition import Observation, observation
from jobs.errors import LedgerError
from jobs.job import Job, Record
from jobs.ledger import Ledger, ledger_time
from jobs.pipelined_redis import PipelinedRedis
from jobs.record_reader import UNLIMITED, RecordReader
from jobs.redis_connection import Breaker


class AsyncLedger:
    """All calls raise LedgerUnavailable when Redis does not answer in time. To be used on one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        settings = ledger.settings
        self._ledger = ledger
        self._breaker = Breaker(settings.redis_connections, settings.redis_timeout)
        self._connection = PipelinedRedis(settings.redis_url, settings.redis_timeout)

    async def add(self, jobs: Sequence[Job]) -> tuple[list[Accepted | LedgerError], Wakeups]:
        """As Ledger.add."""
        if not self._ledger.knows_time:
            await self._breaker.acall(self._read_time)
        since = time.monotonic()
        reply = await self._run(*self._ledger.add_call(jobs))
        if codec.is_late(reply) and time.monotonic() - since < self._ledger.settings.redis_timeout:
            self._ledger.note_time(reply[0])  # not late: the clock was set meanwhile; nothing was accepted
            reply = await self._run(*self._ledger.add_call(jobs))
        return self._ledger.parse_added(reply)

    async def _read_time(self) -> None:
        time_reply = await self._connection.execute("TIME")
        ahead = await self._connection.execute("HGET", self._ledger.prefix + "clock", "ahead")
        self._ledger.note_time(ledger_time(time_reply, ahead))

    async def get_many(self, job_ids: Sequence[str], room: int = UNLIMITED) -> list[Record | None]:
        """As Ledger.get_many."""
        reader = RecordReader(job_ids, room)
        while arguments := reader.next():
            reader.take(await self._run("read", arguments))
        return reader.records()

    async def accepted_before(self, caller: str, key: str) -> tuple[str, str] | None:
        """The id of the job that was accepted under this (hashed) Idempotency-Key, and the fingerprint of its request."""
        name = self._ledger.idempotency_key(caller, key)
        return codec.known_key(await self._breaker.acall(lambda: self._connection.execute("GET", name)))

    async def observe(self) -> Observation:
        """As Ledger.observe."""
        return observation(await self._run(*self._ledger.observe_call()))

    async def listen_to_ends(self, on_ended: Callable[[list[tuple[str, Record | None]]], None]) -> None:
        """Pass jobs to ``on_ended`` as they become final, with None for a record that is too large, until this task is canceled.
        It gets an empty list each time that the subscription becomes active: jobs that ended before are not included."""
        await self.listen(self._ledger.finals_channel, lambda message: on_ended(list(codec.pushed(message)) if message else []))

    async def listen(
        self, name: str, on_message: Callable[[bytes | None], None], on_loss: Callable[[], None] | None = None
    ) -> None:
        """As channel.listen."""
        settings = self._ledger.settings
        await listen(settings.redis_url, settings.redis_timeout, name, on_message, on_loss)

    async def close(self) -> None:
        self._connection.close()
        await asyncio.sleep(0)  # lets the loop close its socket

    async def _run(self, name: str, arguments: list[Any]) -> Any:
        script, prefix = self._ledger.script(name), self._ledger.prefix

        async def run() -> Any:
            try:
                return await self._connection.execute("EVALSHA", script.sha, 1, prefix, *arguments)
            except NoScriptError:
                return await self._connection.execute("EVAL", script.script, 1, prefix, *arguments)

        return await self._breaker.acall(run)
