"""Keeps the ledger informed which versions a predicting process can and cannot load, for the health checks."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress

from jobs.errors import LedgerError
from jobs.health_notes import HealthNotes
from jobs.job import Kind
from jobs.ledger import Ledger
from modeler.predictor import ModelCache
from models.card import Card
from models.registry import Registry
from worker.failure_messages import describe
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")

REFRESH_INTERVAL = 2.0  # seconds
RETRY_INTERVAL = 5.0  # seconds
NOTE_LIFETIME = 60.0  # seconds until a note expires unless it is renewed
MAX_REASON = 1000  # characters


class CrashReason(str):
    """The reason of a failed load that must not be retried in this process: it might crash or block it."""

    __slots__ = ()


class LoadReports:
    def __init__(
        self, ledger: Ledger, registry: Registry, loaded: ModelCache, limit: float, failures: Mapping[tuple[str, int], str]
    ) -> None:
        """``failures``: name and version -> reason, of the champions that could not be loaded before the fork."""
        self._notes = HealthNotes(ledger)
        self._registry = registry
        self._loaded = loaded
        self._limit = limit
        self._failures = dict(failures)
        self._next_refresh = 0.0
        self._next_retry = 0.0

    def failed(self, name: str, version: int, why: str) -> None:
        self._failures[name, version] = why
        self._note(name, version)

    def refresh(self) -> None:
        """To be called often. Every few seconds it notes versions that this process has loaded and another could not, and retries
        the champions that it could not load itself. Raises LedgerError."""
        now = time.monotonic()
        if now < self._next_refresh:
            return
        self._next_refresh = now + REFRESH_INTERVAL
        if self._failures and now >= self._next_retry:
            self._next_retry = now + RETRY_INTERVAL
            for name, version in list(self._failures):
                self._retry(name, version)
        for group in self._notes.unloadable(Kind.PREDICT):
            model, _, number = group.rpartition("/")
            if self._loaded.has(model, int(number)):
                self._notes.add_loadable(Kind.PREDICT, group, NOTE_LIFETIME)

    def _retry(self, name: str, version: int) -> None:
        why = self._failures[name, version]
        card = self._registry.look_up(name)
        if card is None or card.version != version:
            del self._failures[name, version]
        elif (isinstance(why, CrashReason) and not self._loaded.has(name, version)) or (why := self._try(card)):
            self._failures[name, version] = why
            self._note(name, version)
        else:
            del self._failures[name, version]
            self._notes.remove_unloadable(Kind.PREDICT, f"{name}/{version}")
            log.info("%s version %d can be loaded now", name, version)

    def _try(self, card: Card) -> str:
        """The reason why the version cannot be loaded; empty if it can."""
        try:
            with time_limit(self._limit):
                self._loaded.get(card)
        except (Exception, TimeLimit) as error:  # noqa: BLE001 - whatever unpickling raises
            return describe(error)
        return ""

    def _note(self, name: str, version: int) -> None:
        """If Redis does not accept the note, the reason is only in the log."""
        with suppress(LedgerError):
            self._notes.add_unloadable(
                Kind.PREDICT, f"{name}/{version}", self._failures[name, version][:MAX_REASON], NOTE_LIFETIME
            )
