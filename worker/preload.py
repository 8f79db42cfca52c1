"""The champions, loaded before a worker's processes are forked: they share the memory, and the first request finds them warm."""

import gc
import logging
import os
import signal
import time
from contextlib import suppress

import msgspec

from jobs.errors import LedgerError
from jobs.job import Kind
from jobs.ledger import Ledger
from modeler.predictor import ModelCache
from models.card import Card
from models.registry import Registry
from parent_death import EXPENDABLE_SHARE, make_expendable, tie_to_parent
from settings import Settings
from worker.failure_messages import describe
from worker.load_reports import HOLDS, Crashes

log = logging.getLogger("mldeploy.worker")

TICK = 0.01
MAX_REASON = 2000  # bytes, which a pipe takes at once


def preload(settings: Settings, loaded: ModelCache) -> dict[tuple[str, int], str]:
    """A model that cannot be loaded and asked is tried again with its first job. Each is tried in a process of its own: this one
    is the parent of all, and must not die or hang with it. Returns name and version of those that could not, and why. Raises
    LedgerUnavailable."""
    ledger = Ledger(settings)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard)
    room = settings.loaded_bytes
    failures, noted = {}, ledger.unloadable(Kind.PREDICT)
    for name in registry.names():
        card = _champion(registry, name)
        if card is None or card.artifact.bytes > room:
            continue
        why = _why_it_fails(card, loaded, settings.predict_limit)
        if why:
            log.error("%s version %d is not loaded yet, its first job tries again: %s", card.name, card.version, why)
            failures[card.name, card.version] = why
            with suppress(LedgerError):  # the processes to come report it too
                ledger.note_unloadable(Kind.PREDICT, f"{card.name}/{card.version}", why[:MAX_REASON], HOLDS)
        else:
            room -= card.artifact.bytes
            loaded.get(card)
            log.info("loaded %s version %d before the fork", card.name, card.version)
            if f"{card.name}/{card.version}" in noted:
                ledger.withdraw_unloadable(Kind.PREDICT, f"{card.name}/{card.version}")
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, what the processes share
    return failures


def _champion(registry: Registry, name: str) -> Card | None:
    try:
        return registry.look_up(name)
    except msgspec.DecodeError:
        log.exception("the card of %s cannot be read; its first job tries again", name)
        return None


def _why_it_fails(card: Card, loaded: ModelCache, patience: float) -> str:
    """Empty if it can be loaded and asked."""
    parent = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        tie_to_parent(parent)
        make_expendable(EXPENDABLE_SHARE)  # it goes before its parent
        _try(card, loaded, writer)
    os.close(writer)
    try:
        status = _await(child, patience)
        reason = os.read(reader, MAX_REASON).decode(errors="replace")
    finally:
        os.close(reader)
    if status is None:
        return Crashes(f"it took longer than {patience:g} s to load")
    return reason or (Crashes("the process that tried to load it died") if status else "")


def _await(child: int, patience: float) -> int | None:
    """Its exit status; None if it took too long, and was killed."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(TICK)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _try(card: Card, loaded: ModelCache, writer: int) -> None:
    """Ends the process, and writes why the version cannot be loaded."""
    try:
        loaded.get(card).warm()
    except BaseException as error:
        log.exception("%s version %d cannot be loaded", card.name, card.version)
        os.write(writer, describe(error).encode()[:MAX_REASON])
        os._exit(1)
    os._exit(0)
