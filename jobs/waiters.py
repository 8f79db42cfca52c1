"""Those who ask for a job and those who wait for its end.

Ends are pushed, with the record if it is small: one push wakes all who wait for any of its
jobs, in each process, and nobody asks Redis again and again. A final record never changes, so what was pushed is kept a while.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jobs import ids
from jobs.async_ledger import AsyncLedger
from jobs.batcher import Batcher
from jobs.errors import LedgerUnavailable
from jobs.job import Record
from jobs.redis_connection import UNREACHABLE

log = logging.getLogger("mldeploy.waiters")

YOUNG = 1.0  # seconds: a job that is no older …
PATIENCE = 0.005  # … gets so many to end before Redis is asked for it
PAUSE = 0.2  # seconds before a channel that was cut is made anew
KEPT_FOR = 5.0  # seconds that a pushed record is kept …
MAX_KEPT = 4_000_000  # … and bytes
MAX_READ = 100  # records in one call
RECORD_SIZE = 1000  # of a record without its result

UNWATCHED = 1.0  # seconds for which it does not matter whether the client is still there: most jobs end sooner

Final = asyncio.Future[Record | None]
Gone = Callable[[], Awaitable[object]]


class Waiters:
    """To be used on one event loop; it listens from the first use on."""

    def __init__(self, ledger: AsyncLedger, most: int, keep: float) -> None:
        self._ledger = ledger
        self._most = most
        self._waiting: dict[str, set[Final]] = {}
        self.count = 0
        self._kept: OrderedDict[str, tuple[float, Record]] = OrderedDict()
        self._kept_bytes = 0
        self._kept_for = min(KEPT_FOR, keep)
        self._reads = Batcher(ledger.get_many, MAX_READ, MAX_READ)
        self._tasks: set[asyncio.Task[None]] = set()  # that nobody awaits
        self._listener: asyncio.Task[None] | None = None

    async def read(self, job_id: str) -> Record | None:
        """As it is pushed if it ended lately, or ends within moments: a young job is likely to, and who polls for it need not
        poll again. Raises LedgerUnavailable."""
        if record := self._kept_of(job_id):
            return record
        if 0 <= ids.age(job_id) < YOUNG:
            self._start_listening()
            with self._told_of(job_id) as final:
                timer = asyncio.get_running_loop().call_later(PATIENCE, _resolve, final, None)
                record = await final
                timer.cancel()
            if record:
                return record
        return await self._reads.ask(job_id)

    async def wait(self, job_id: str, seconds: float, gone: Gone | None = None) -> Record | None:
        """The job's record, final if it ended within ``seconds``. Registers first and then reads, so no end is missed.

        Raises LedgerUnavailable if it cannot be read at the beginning or the end of the wait.
        """
        with self.registered(job_id, seconds, gone) as final:
            record = self._kept_of(job_id) or await self._reads.ask(job_id)
            if record is None or record.state.final or final is None:
                return record
            return await final or await self._reads.ask(job_id)

    @contextmanager
    def registered(self, job_id: str, seconds: float, gone: Gone | None = None) -> Iterator[Final | None]:
        """What will be the final record, or None after so many seconds, or when the client is ``gone``. No promise at all if too
        many wait already."""
        if self.is_full:
            yield None
            return
        loop = asyncio.get_running_loop()
        self._start_listening()
        self.count += 1
        with self._told_of(job_id) as final:
            if gone and seconds > UNWATCHED:
                timer = loop.call_later(UNWATCHED, self._watch, final, gone, seconds - UNWATCHED)
            else:
                timer = loop.call_later(seconds, _resolve, final, None)
            try:
                yield final
            finally:
                timer.cancel()
                self.count -= 1

    @contextmanager
    def _told_of(self, job_id: str) -> Iterator[Final]:
        final: Final = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(final)
        try:
            yield final
        finally:
            _resolve(final, None)
            others = self._waiting[job_id]
            others.discard(final)
            if not others:
                del self._waiting[job_id]

    def _kept_of(self, job_id: str) -> Record | None:
        kept = self._kept.get(job_id)
        return kept[1] if kept and time.monotonic() - kept[0] < self._kept_for else None

    @property
    def is_full(self) -> bool:
        return self.count >= self._most

    async def warm(self) -> None:
        """Raises LedgerUnavailable."""
        self._start_listening()
        await self._ledger.get_many(["warm"])

    def _start_listening(self) -> None:
        self._listener = self._listener or asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        if self._listener:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        await self._ledger.close()

    def _ended(self, records: list[tuple[str, Record | None]]) -> None:
        for job_id, record in records:
            if record is not None:
                if not record.more.webhook:  # of which there is more to tell, after the end
                    self._keep(record)
                for final in self._waiting.get(job_id, ()):
                    _resolve(final, record)
            elif job_id in self._waiting:
                self._look_up(job_id)

    def _look_up(self, *job_ids: str) -> None:
        """Results too large to be pushed; or, after the channel was cut, all that are waited for."""
        self._start(self._resolve_by_reading(job_ids))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self, final: Final, gone: Gone, seconds: float) -> None:
        self._start(_until_gone(final, gone, seconds))

    async def _resolve_by_reading(self, job_ids: Sequence[str]) -> None:
        try:
            records = await self._ledger.get_many(job_ids)
        except LedgerUnavailable as error:
            log.warning("%s; those who wait for %d jobs are told at the end of their wait", error, len(job_ids))
            return
        for record in records:
            if record and record.state.final:
                for final in self._waiting.get(record.id, ()):
                    _resolve(final, record)

    def _keep(self, record: Record) -> None:
        if record.id not in self._kept:
            self._kept_bytes += _size(record)
        self._kept[record.id] = time.monotonic(), record
        while self._kept_bytes > MAX_KEPT:
            self._kept_bytes -= _size(self._kept.popitem(last=False)[1][1])

    async def _listen(self) -> None:
        while True:
            try:
                async for ended in self._ledger.ends():
                    if ended:
                        self._ended(ended)
                    else:
                        self._look_up(*self._waiting)
            except UNREACHABLE as error:
                log.warning("the push channel was cut: %s", error)
            except Exception:
                log.exception("the push channel failed")
            await asyncio.sleep(PAUSE)


async def _until_gone(final: Final, gone: Gone, seconds: float) -> None:
    leaving: asyncio.Future[Any] = asyncio.ensure_future(gone())
    either: list[asyncio.Future[Any]] = [final, leaving]
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    _resolve(final, None)


def _resolve(final: Final, record: Record | None) -> None:
    if not final.done():
        final.set_result(record)


def _size(record: Record) -> int:
    return RECORD_SIZE + len(record.result or b"") + len(record.error or b"")
