"""The components of an API process: the ledger, the registry, the committer, the waiters. Created once."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api.alias_moves import AliasMoves
from api.http.cors import Cors
from api.parquet_process import ParquetProcess
from api.readiness import ReadinessCheck
from auth.keys import Keys
from auth.rates import Rates
from jobs.async_ledger import AsyncLedger
from jobs.committer import Committer
from jobs.errors import LedgerError
from jobs.ledger import Ledger
from jobs.waiters import Waiters
from jobs.wakeup import WakeupSender, make_celery
from models.datasets import Datasets
from models.registry import Registry
from models.rollout import Rollout
from settings import Settings
from webhooks.networks import Networks, parse_networks
from webhooks.signing_secrets import Secrets

MAX_WARMED_MODELS = 100

log = logging.getLogger("mldeploy.api")


@dataclass(frozen=True, slots=True)
class Service:
    settings: Settings
    ledger: Ledger
    registry: Registry
    datasets: Datasets
    rollout: Rollout
    wakeup_sender: WakeupSender
    async_ledger: AsyncLedger
    committer: Committer
    waiters: Waiters
    threads: ThreadPoolExecutor
    alias_moves: AliasMoves
    parquet_process: ParquetProcess
    keys: Keys
    rates: Rates
    networks: Networks
    secrets: Secrets
    readiness: ReadinessCheck
    cors: Cors

    async def warm(self) -> None:
        """Connects, and loads the served models into the cache, so that the first request is as fast as later ones."""
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, self._fill_cache)
            await self.waiters.warm()
        except LedgerError as error:
            log.warning("the first requests will be slower, Redis did not answer: %s", error)

    def _fill_cache(self) -> None:
        _ = self.ledger.secret
        for name in self.registry.names()[:MAX_WARMED_MODELS]:
            self.registry.look_up(name)


def make_service(settings: Settings) -> Service:
    """Opens no connection yet."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard, settings.max_models)
    wakeup_sender = WakeupSender(make_celery(settings))
    async_ledger = AsyncLedger(ledger)
    store = ledger.redis, ledger.prefix, ledger.guard
    threads = ThreadPoolExecutor(settings.api_threads, "api")
    return Service(
        settings=settings,
        ledger=ledger,
        registry=registry,
        datasets=Datasets(*store),
        rollout=Rollout(*store),
        wakeup_sender=wakeup_sender,
        async_ledger=async_ledger,
        committer=Committer(async_ledger, wakeup_sender),
        waiters=Waiters(async_ledger, settings.api_waiters, settings.keep),
        threads=threads,
        alias_moves=AliasMoves(),
        parquet_process=ParquetProcess(threads),
        keys=Keys(*store),
        rates=Rates(settings.redis_url, ledger.prefix, settings.redis_timeout),
        networks=parse_networks(settings.webhook_networks),
        secrets=Secrets(*store),
        readiness=ReadinessCheck(settings, async_ledger, registry, threads),
        cors=Cors(settings.cors_origins),
    )
