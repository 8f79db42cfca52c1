"""Whether this service is ready, looked up at most once a second while it is, and four times a second while it is not."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from jobs import condition
from jobs.async_ledger import AsyncLedger
from jobs.condition import Observation, Reason, Status
from jobs.errors import LedgerError
from models.registry import Registry
from settings import Settings

HOLDS = 1.0  # seconds
HOLDS_UNLESS_READY = 0.25


class Readiness(Struct, frozen=True):
    """``workers`` counts live worker processes by kind; ``reconciled_seconds_ago`` is null if no reconciler ever ran.
    ``unloadable``: versions that a worker could not load lately, and why."""

    status: Status
    reasons: list[Reason] = []
    workers: dict[str, int] = {}
    reconciled_seconds_ago: float | None = None
    unloadable: dict[str, str] = {}


class ReadinessCheck:
    """To be used on one event loop. One round trip to Redis; more only while a version cannot be loaded."""

    def __init__(self, settings: Settings, ledger: AsyncLedger, registry: Registry, threads: ThreadPoolExecutor) -> None:
        self._settings = settings
        self._ledger = ledger
        self._registry = registry
        self._threads = threads
        self._task: asyncio.Task[Readiness] | None = None
        self._holds_until = 0.0

    async def now(self) -> Readiness:
        if self._task is None or (self._task.done() and time.monotonic() > self._holds_until):
            self._task = asyncio.create_task(self._check())
        return await asyncio.shield(self._task)

    async def _check(self) -> Readiness:
        try:
            found = await self._look()
        except LedgerError as error:
            found = Readiness("not-ready", [condition.of_redis(str(error))])
        self._holds_until = time.monotonic() + (HOLDS if found.status == "ready" else HOLDS_UNLESS_READY)
        return found

    async def _look(self) -> Readiness:
        """Raises LedgerError."""
        seen = await self._ledger.observe()
        reasons = condition.reasons(seen, self._settings)
        if seen.unloadable:
            reasons += await asyncio.get_running_loop().run_in_executor(self._threads, self._of_champions, seen)
        since = None if seen.reconciled is None else round(seen.reconciled, 3)
        return Readiness(condition.status_of(reasons), reasons, seen.workers, since, seen.unloadable)

    def _of_champions(self, seen: Observation) -> list[Reason]:
        """Raises LedgerError."""
        found = []
        for group, why in seen.unloadable.items():
            name, _, version = group.rpartition("/")
            if self._registry.resolve(name) == int(version):
                is_default, elsewhere = name == self._settings.default_model, group in seen.loadable
                found.append(condition.of_champion(group, why, is_default=is_default, loaded_elsewhere=elsewhere))
        return found
