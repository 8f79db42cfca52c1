"""Loads the champions before a worker's processes are forked: they share the memory, and the first request finds warm models."""

import gc
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

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
TRY_BUDGET = 40.0  # seconds for all tries together; a service that starts does not wait longer for its models
STARTS_THREADS = 3  # exit status of a try
THREADS = Path("/proc/self/task")
FORK_SAFE = {"scikit-learn", "numpy", "joblib", "scipy", "pandas"}  # where threads cannot be counted


@dataclass(frozen=True, slots=True)
class Preloaded:
    """``failures``: name and version -> reason, of champions that could not be loaded; their first jobs try again.
    ``after_fork``: champions that each process has to load for itself."""

    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    after_fork: list[Card] = field(default_factory=list)


def preload(settings: Settings, loaded: ModelCache) -> Preloaded:
    """Loads the champions. Each is tried in a child process first, because this process is the parent of all workers and must
    not crash or hang. A model that starts threads (the OpenMP pool of LightGBM or XGBoost) is not loaded here: a fork copies the
    pool without its threads, and the copy waits for them for ever. Raises LedgerUnavailable."""
    ledger = Ledger(settings)
    notes = HealthNotes(ledger)
    registry = Registry(ledger.redis, ledger.prefix, ledger.guard)
    room = settings.loaded_bytes
    found, noted, end = Preloaded(), notes.unloadable(Kind.PREDICT), time.monotonic() + TRY_BUDGET
    for name in registry.names():
        card = _champion(registry, name)
        if card is None or card.artifact.bytes > room:
            continue
        left = end - time.monotonic()
        if left <= 0:
            log.warning("%s version %d is not tried before the fork, the others took too long", card.name, card.version)
            continue
        why, starts_threads = _try_in_child(card, loaded, min(settings.predict_limit, left))
        if why:
            log.error("%s version %d is not loaded yet, its first job tries again: %s", card.name, card.version, why)
            found.failures[card.name, card.version] = why
            with suppress(LedgerError):  # the forked processes report it too
                notes.add_unloadable(Kind.PREDICT, f"{card.name}/{card.version}", why[:MAX_REASON], NOTE_LIFETIME)
        else:
            room -= card.artifact.bytes
            if starts_threads:
                found.after_fork.append(card)
                log.info("%s version %d starts threads: each process loads it for itself", card.name, card.version)
            else:
                loaded.get(card)
                log.info("loaded %s version %d before the fork", card.name, card.version)
            if f"{card.name}/{card.version}" in noted:
                notes.remove_unloadable(Kind.PREDICT, f"{card.name}/{card.version}")
    gc.collect()
    gc.freeze()  # else the collector would touch, and so copy, the shared pages
    return found


def _champion(registry: Registry, name: str) -> Card | None:
    try:
        return registry.look_up(name)
    except msgspec.DecodeError:
        log.exception("the card of %s cannot be read; its first job tries again", name)
        return None


def _try_in_child(card: Card, loaded: ModelCache, timeout: float) -> tuple[str, bool]:
    """The reason why the model cannot be loaded and predict, empty if it can; and whether loading it starts threads."""
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
        return CrashReason(f"it took longer than {timeout:.3g} s to load"), False
    starts_threads = os.waitstatus_to_exitcode(status) == STARTS_THREADS
    died = status and not starts_threads
    return reason or (CrashReason("the process that tried to load it died") if died else ""), starts_threads


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
        predictor = loaded.get(card)
        starts_threads = _has_threads(card)
        predictor.warm()
    except BaseException as error:
        log.exception("%s version %d cannot be loaded", card.name, card.version)
        os.write(writer, describe(error).encode()[:MAX_REASON])
        os._exit(1)
    os._exit(STARTS_THREADS if starts_threads else 0)


def _has_threads(card: Card) -> bool:
    """Whether this process has more than its first thread; where that cannot be seen, whether the model may start some."""
    if not THREADS.exists():
        return not FORK_SAFE.issuperset(card.libraries)
    return len(list(THREADS.iterdir())) > 1
