"""Checks whether the service is ready, at most once a second while it is, and four times a second while it is not."""

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

READY_TTL = 1.0  # seconds
NOT_READY_TTL = 0.25


class Readiness(Struct, frozen=True):
    """``workers`` counts live worker processes by kind; ``reconciled_seconds_ago`` is null if no reconciler ever ran.
    ``unloadable``: versions that a worker could not load lately, and why."""

    status: Status
    reasons: list[Reason] = []
    workers: dict[str, int] = {}
    reconciled_seconds_ago: float | None = None
    unloadable: dict[str, str] = {}


class ReadinessCheck:
    """All methods must be called on the same event loop. A check is one round trip to Redis; more only while a version cannot be
    loaded."""

    def __init__(self, settings: Settings, ledger: AsyncLedger, registry: Registry, threads: ThreadPoolExecutor) -> None:
        self._settings = settings
        self._ledger = ledger
        self._registry = registry
        self._threads = threads
        self._task: asyncio.Task[Readiness] | None = None
        self._valid_until = 0.0

    async def now(self) -> Readiness:
        if self._task is None or (self._task.done() and time.monotonic() > self._valid_until):
            self._task = asyncio.create_task(self._check())
        return await asyncio.shield(self._task)

    async def _check(self) -> Readiness:
        try:
            result = await self._observe()
        except LedgerError as error:
            result = Readiness("not-ready", [condition.of_redis(str(error))])
        self._valid_until = time.monotonic() + (READY_TTL if result.status == "ready" else NOT_READY_TTL)
        return result

    async def _observe(self) -> Readiness:
        """Raises LedgerError."""
        observation = await self._ledger.observe()
        reasons = condition.reasons(observation, self._settings)
        if observation.unloadable:
            reasons += await asyncio.get_running_loop().run_in_executor(self._threads, self._champion_reasons, observation)
        seconds_ago = None if observation.reconciled is None else round(observation.reconciled, 3)
        return Readiness(condition.status_of(reasons), reasons, observation.workers, seconds_ago, observation.unloadable)

    def _champion_reasons(self, observation: Observation) -> list[Reason]:
        """Raises LedgerError."""
        result = []
        for group, why in observation.unloadable.items():
            name, _, version = group.rpartition("/")
            if self._registry.resolve(name) == int(version):
                is_default, elsewhere = name == self._settings.default_model, group in observation.loadable
                result.append(condition.of_champion(group, why, is_default=is_default, loaded_elsewhere=elsewhere))
        return result
