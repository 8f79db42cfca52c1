"""Clients that read a job, and clients that wait for its end.

Redis pushes the ends of jobs, with the record if it is small. One push resolves all waits for any of its jobs, in each process,
and no process polls Redis. A final record never changes, so pushed records are cached for a while.
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

log = logging.getLogger("mldeploy.waiters")

YOUNG_JOB_AGE = 1.0  # seconds: the record of a job that is younger …
YOUNG_JOB_WAIT = 0.005  # … is read only after these seconds, in which the job may end
CACHE_TIMEOUT = 5.0  # seconds that a pushed record is cached
MAX_CACHED = 4_000_000  # bytes
MAX_READ = 100  # records in one call
RECORD_SIZE = 1000  # bytes of a record without its result

UNWATCHED = 1.0  # seconds before it is checked whether the client is still connected: most jobs end sooner

FinalRecord = asyncio.Future[Record | None]
Gone = Callable[[], Awaitable[object]]  # returns when the client has disconnected


class Waiters:
    """To be used on one event loop. It subscribes to the ends of jobs on first use."""

    def __init__(self, ledger: AsyncLedger, max_waiting: int, keep: float) -> None:
        self._ledger = ledger
        self._max_waiting = max_waiting
        self._waiting: dict[str, set[FinalRecord]] = {}
        self.count = 0
        self._cache: OrderedDict[str, tuple[float, Record]] = OrderedDict()
        self._cache_bytes = 0
        self._cache_timeout = min(CACHE_TIMEOUT, keep)
        self._reads = Batcher(ledger.get_many, MAX_READ, MAX_READ)
        self._tasks: set[asyncio.Task[None]] = set()  # background tasks
        self._listener: asyncio.Task[None] | None = None

    async def read(self, job_id: str) -> Record | None:
        """The job's record: the pushed one if the job ended recently or ends within YOUNG_JOB_WAIT. A young job is likely to, and
        then a polling client need not poll again. Raises LedgerUnavailable."""
        if record := self._cached(job_id):
            return record
        if 0 <= ids.age(job_id) < YOUNG_JOB_AGE:
            self._start_listening()
            with self._final_future(job_id) as final:
                timer = asyncio.get_running_loop().call_later(YOUNG_JOB_WAIT, _resolve, final, None)
                record = await final
                timer.cancel()
            if record:
                return record
        return await self._reads.submit(job_id)

    async def wait(self, job_id: str, seconds: float, gone: Gone | None = None) -> Record | None:
        """The job's record, final if the job ended within ``seconds``. Registers before it reads, so it misses no end.

        Raises LedgerUnavailable if it cannot be read at the beginning or the end of the wait.
        """
        with self.registered(job_id, seconds, gone) as final:
            record = self._cached(job_id) or await self._reads.submit(job_id)
            if record is None or record.state.final or final is None:
                return record
            return await final or await self._reads.submit(job_id)

    @contextmanager
    def registered(self, job_id: str, seconds: float, gone: Gone | None = None) -> Iterator[FinalRecord | None]:
        """A future that resolves to the final record, or to None after ``seconds`` or when the client is ``gone``. Yields None
        instead of a future if too many clients are waiting."""
        if self.is_full:
            yield None
            return
        loop = asyncio.get_running_loop()
        self._start_listening()
        self.count += 1
        with self._final_future(job_id) as final:
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
    def _final_future(self, job_id: str) -> Iterator[FinalRecord]:
        final: FinalRecord = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(final)
        try:
            yield final
        finally:
            _resolve(final, None)
            others = self._waiting[job_id]
            others.discard(final)
            if not others:
                del self._waiting[job_id]

    def _cached(self, job_id: str) -> Record | None:
        cached = self._cache.get(job_id)
        return cached[1] if cached and time.monotonic() - cached[0] < self._cache_timeout else None

    @property
    def is_full(self) -> bool:
        return self.count >= self._max_waiting

    async def warm(self) -> None:
        """Raises LedgerUnavailable."""
        self._start_listening()
        await self._ledger.get_many(["warm"])

    def _start_listening(self) -> None:
        self._listener = self._listener or asyncio.get_running_loop().create_task(self._ledger.listen_to_ends(self._ended))

    async def close(self) -> None:
        if self._listener:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        await self._ledger.close()

    def _ended(self, records: list[tuple[str, Record | None]]) -> None:
        """``records``: empty when the subscription has become active, after which ends may have been missed."""
        if not records:
            self._read_final(*self._waiting)
        for job_id, record in records:
            if record is not None:
                if not record.metadata.webhook:  # its deliveries are added after the end
                    self._add_to_cache(record)
                for final in self._waiting.get(job_id, ()):
                    _resolve(final, record)
            elif job_id in self._waiting:
                self._read_final(job_id)

    def _read_final(self, *job_ids: str) -> None:
        """Read records that are too large to be pushed or, after a reconnect, all records that clients wait for."""
        self._start(self._resolve_by_reading(job_ids))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self, final: FinalRecord, gone: Gone, seconds: float) -> None:
        self._start(_until_gone(final, gone, seconds))

    async def _resolve_by_reading(self, job_ids: Sequence[str]) -> None:
        try:
            records = await self._ledger.get_many(job_ids)
        except LedgerUnavailable as error:
            log.warning("%s; the clients that wait for %d jobs get a response at the end of their wait", error, len(job_ids))
            return
        for record in records:
            if record and record.state.final:
                for final in self._waiting.get(record.id, ()):
                    _resolve(final, record)

    def _add_to_cache(self, record: Record) -> None:
        if record.id not in self._cache:
            self._cache_bytes += _size(record)
        self._cache[record.id] = time.monotonic(), record
        while self._cache_bytes > MAX_CACHED:
            self._cache_bytes -= _size(self._cache.popitem(last=False)[1][1])


async def _until_gone(final: FinalRecord, gone: Gone, seconds: float) -> None:
    disconnect: asyncio.Future[Any] = asyncio.ensure_future(gone())
    either: list[asyncio.Future[Any]] = [final, disconnect]
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnect.cancel()
    _resolve(final, None)


def _resolve(final: FinalRecord, record: Record | None) -> None:
    if not final.done():
        final.set_result(record)


def _size(record: Record) -> int:
    return RECORD_SIZE + len(record.result or b"") + len(record.error or b"")
