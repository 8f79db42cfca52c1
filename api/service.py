"""What an API process has: the ledger, the registry, the committer, the waiters. Made once."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api.alias_moves import AliasMoves
from api.parquet_process import Unpacking
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

MAX_WARMED = 100  # models

log = logging.getLogger("mldeploy.api")


@dataclass(frozen=True, slots=True)
class Service:
    settings: Settings
    ledger: Ledger
    registry: Registry
    datasets: Datasets
    rollout: Rollout
    wakeup_sender: WakeupSender
    on_loop: AsyncLedger
    committer: Committer
    waiters: Waiters
    threads: ThreadPoolExecutor
    alias_moves: AliasMoves
    unpacking: Unpacking
    keys: Keys
    rates: Rates
    networks: Networks
    secrets: Secrets
    readiness: ReadinessCheck

    async def warm(self) -> None:
        """Connect, and look up what is served, so that the first request finds all that the thousandth does."""
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, self._look_up)
            await self.waiters.warm()
        except LedgerError as error:
            log.warning("the first requests will be slower, Redis did not answer: %s", error)

    def _look_up(self) -> None:
        _ = self.ledger.secret
        for name in self.registry.names()[:MAX_WARMED]:
            self.registry.look_up(name)


def make_service(settings: Settings) -> Service:
    """Connects to nothing yet."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard, settings.max_models)
    wakeup_sender = WakeupSender(make_celery(settings))
    on_loop = AsyncLedger(ledger)
    known = ledger.redis, ledger.prefix, ledger.guard
    threads = ThreadPoolExecutor(settings.api_threads, "aside")
    return Service(
        settings=settings,
        ledger=ledger,
        registry=registry,
        datasets=Datasets(*known),
        rollout=Rollout(*known),
        wakeup_sender=wakeup_sender,
        on_loop=on_loop,
        committer=Committer(on_loop, wakeup_sender),
        waiters=Waiters(on_loop, settings.api_waiters, settings.keep),
        threads=threads,
        alias_moves=AliasMoves(),
        unpacking=Unpacking(threads),
        keys=Keys(*known),
        rates=Rates(settings.redis_url, ledger.prefix, settings.redis_timeout),
        networks=parse_networks(settings.webhook_networks),
        secrets=Secrets(*known),
        readiness=ReadinessCheck(settings, on_loop, registry, threads),
    )
