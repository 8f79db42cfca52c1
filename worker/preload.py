"""Loads the champions before a worker's processes are forked: they share the memory, and the first request finds warm models."""

import gc
import logging
import os
import signal
import time
from contextlib import suppress

import msgspec

from jobs.errors import LedgerError
from jobs.health_notes import HealthNotes
from jobs.job import Kind
from jobs.ledger import Ledger
from modeler.predictor import ModelCache
from models.card import Card
from models.registry import Registry
from parent_death import EXPENDABLE_SHARE, die_with_parent, make_expendable
from settings import Settings
from worker.failure_messages import describe
from worker.load_reports import NOTE_LIFETIME, CrashReason

log = logging.getLogger("mldeploy.worker")

POLL_INTERVAL = 0.01  # seconds
MAX_REASON = 2000  # bytes; a pipe takes them in one write


def preload(settings: Settings, loaded: ModelCache) -> dict[tuple[str, int], str]:
    """Loads the champions, and returns name and version -> reason of those that failed. A model that fails is retried with its
    first job. Each is tried in a child process first, because this process is the parent of all workers and must not crash or
    hang. Raises LedgerUnavailable."""
    ledger = Ledger(settings)
    notes = HealthNotes(ledger)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard)
    room = settings.loaded_bytes
    failures, noted = {}, notes.unloadable(Kind.PREDICT)
    for name in registry.names():
        card = _champion(registry, name)
        if card is None or card.artifact.bytes > room:
            continue
        why = _load_error(card, loaded, settings.predict_limit)
        if why:
            log.error("%s version %d is not loaded yet, its first job tries again: %s", card.name, card.version, why)
            failures[card.name, card.version] = why
            with suppress(LedgerError):  # the forked processes report it too
                notes.add_unloadable(Kind.PREDICT, f"{card.name}/{card.version}", why[:MAX_REASON], NOTE_LIFETIME)
        else:
            room -= card.artifact.bytes
            loaded.get(card)
            log.info("loaded %s version %d before the fork", card.name, card.version)
            if f"{card.name}/{card.version}" in noted:
                notes.remove_unloadable(Kind.PREDICT, f"{card.name}/{card.version}")
    gc.collect()
    gc.freeze()  # else the collector would touch, and so copy, the shared pages
    return failures


def _champion(registry: Registry, name: str) -> Card | None:
    try:
        return registry.look_up(name)
    except msgspec.DecodeError:
        log.exception("the card of %s cannot be read; its first job tries again", name)
        return None


def _load_error(card: Card, loaded: ModelCache, timeout: float) -> str:
    """The reason why the model cannot be loaded and predict; empty if it can."""
    parent = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        die_with_parent(parent)
        make_expendable(EXPENDABLE_SHARE)  # the kernel kills it before its parent
        _try(card, loaded, writer)
    os.close(writer)
    try:
        status = _await(child, timeout)
        reason = os.read(reader, MAX_REASON).decode(errors="replace")
    finally:
        os.close(reader)
    if status is None:
        return CrashReason(f"it took longer than {timeout:g} s to load")
    return reason or (CrashReason("the process that tried to load it died") if status else "")


def _await(child: int, timeout: float) -> int | None:
    """The exit status; None if the child took too long and was killed."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(POLL_INTERVAL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _try(card: Card, loaded: ModelCache, writer: int) -> None:
    """Loads the model and exits the process; writes the reason to ``writer`` if the model cannot be loaded."""
    try:
        loaded.get(card).warm()
    except BaseException as error:
        log.exception("%s version %d cannot be loaded", card.name, card.version)
        os.write(writer, describe(error).encode()[:MAX_REASON])
        os._exit(1)
    os._exit(0)
