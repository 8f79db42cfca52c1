"""The champions, loaded before a worker's processes are forked: they share the memory, and the first request finds them warm."""

import gc
import logging
import os
import signal
import time

import msgspec

from jobs.ledger import Ledger
from models.card import Card
from models.predictor import Loaded
from models.registry import Registry
from settings import Settings
from tether import EXPENDABLE_SHARE, make_expendable, tie_to_parent

log = logging.getLogger("mldeploy.worker")

TICK = 0.01


def preload(settings: Settings, loaded: Loaded) -> None:
    """A model that cannot be loaded and asked is left to its jobs. It is tried in a process of its own first: this one is
    the parent of all, and must not die or hang with it. Raises LedgerUnavailable."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard)
    room = settings.loaded_bytes
    for name in registry.names():
        card = _champion(registry, name)
        if card and card.artifact.bytes <= room and _survives(card, loaded, settings.predict_limit):
            room -= card.artifact.bytes
            loaded.get(card)
            log.info("loaded %s version %d before the fork", card.name, card.version)
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, what the processes share


def _champion(registry: Registry, name: str) -> Card | None:
    try:
        return registry.look_up(name)
    except msgspec.DecodeError:
        log.exception("the card of %s cannot be read; it is left to its jobs", name)
        return None


def _survives(card: Card, loaded: Loaded, patience: float) -> bool:
    parent = os.getpid()
    child = os.fork()
    if not child:
        tie_to_parent(parent)
        make_expendable(EXPENDABLE_SHARE)  # it goes before its parent
        _try(card, loaded)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(TICK)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    log.error("%s version %d took longer than %g s to load; it is left to its jobs", card.name, card.version, patience)
    return False


def _try(card: Card, loaded: Loaded) -> None:
    """Ends the process."""
    try:
        loaded.get(card).warm()
    except BaseException:
        log.exception("%s version %d cannot be loaded; it is left to its jobs", card.name, card.version)
        os._exit(1)
    os._exit(0)
