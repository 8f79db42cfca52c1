"""What an API process has: the ledger, the registry, the bell and the waiters. Found on the app, made once with it."""

import threading
from dataclasses import dataclass

from flask import Flask, current_app

from jobs.bell import Bell, make_celery
from jobs.ledger import Ledger
from jobs.waiters import Waiters
from models.registry import Registry
from settings import Settings

KEY = "mldeploy"


@dataclass(frozen=True, slots=True)
class Service:
    settings: Settings
    ledger: Ledger
    registry: Registry
    bell: Bell
    waiters: Waiters
    uploads: threading.BoundedSemaphore  # bodies being received


def install(app: Flask, settings: Settings) -> None:
    """Connects to nothing yet."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard, settings.max_models)
    bell = Bell(make_celery(settings))
    uploads = threading.BoundedSemaphore(max(1, settings.api_threads // 2))
    places = max(1, settings.api_threads - settings.api_reserve)
    app.extensions[KEY] = Service(settings, ledger, registry, bell, Waiters(ledger, places), uploads)


def service() -> Service:
    found: Service = current_app.extensions[KEY]
    return found
