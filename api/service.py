"""What an API process has: the ledger, the registry, the committer, the waiters. Made once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from jobs.async_ledger import AsyncLedger
from jobs.bell import Bell, make_celery
from jobs.committer import Committer
from jobs.ledger import Ledger
from jobs.waiters import Waiters
from models.registry import Registry
from settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    settings: Settings
    ledger: Ledger
    registry: Registry
    bell: Bell
    committer: Committer
    waiters: Waiters
    threads: ThreadPoolExecutor


def make_service(settings: Settings) -> Service:
    """Connects to nothing yet."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard, settings.max_models)
    bell = Bell(make_celery(settings))
    on_loop = AsyncLedger(ledger)
    threads = ThreadPoolExecutor(settings.api_threads, "aside")
    waiters = Waiters(on_loop, settings.api_waiters, settings.keep)
    return Service(settings, ledger, registry, bell, Committer(on_loop, bell), waiters, threads)
