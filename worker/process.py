"""One worker process: answers a knock by serving the lane until it is empty or the time slice is over."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from jobs.bell import Bell
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.job import Claim, Effect, Outcome
from jobs.ledger import Ledger
from worker.limits import TimeLimit

T = TypeVar("T")

log = logging.getLogger("mldeploy.worker")

RETRY = 0.2  # seconds between tries while Redis is away
REFUSED_FOR = 30.0  # seconds until a version that could not be loaded here is tried again


class Unloadable(Exception):
    """This worker cannot load the claim's version; another may."""


Finish = Callable[[Sequence[Outcome], Sequence[Effect]], None]


class Doer(Protocol):
    """Does a claim's work. Raises Unloadable; TimeLimit or MemoryError when it cannot tell which job is at fault."""

    def do(self, claim: Claim, finish: Finish) -> None: ...


class Process:
    def __init__(self, kind: str, owner: str, ledger: Ledger, bell: Bell, doer: Doer, draining: Callable[[], bool]) -> None:
        self._kind = kind
        self._owner = owner
        self._ledger = ledger
        self._bell = bell
        self._doer = doer
        self._draining = draining
        self._refused: dict[str, float] = {}  # group -> when to try it again

    def serve(self, lane: str, bell: str) -> None:
        """An error of our own ends the process: its parent then gives back whatever it held."""
        try:
            self._serve(lane, bell)
        except Exception:
            log.exception("an error of our own while serving %s", lane)
            logging.shutdown()
            os._exit(1)

    def _serve(self, lane: str, bell: str) -> None:
        over = time.monotonic() + self._ledger.settings.time_slice
        while not self._draining():
            claim = self._claim(lane, bell)
            if claim is None:
                return
            self._work(claim)
            if time.monotonic() > over:
                break
        self._bell.ring(patiently(lambda: self._ledger.sign_off(lane, self._owner)))

    def _claim(self, lane: str, bell: str) -> Claim | None:
        """Tries until Redis answers: a claim whose reply was lost is asked for again by its token."""
        token, now = secrets.token_hex(8), time.monotonic()
        self._refused = {group: until for group, until in self._refused.items() if until > now}
        return patiently(lambda: self._ledger.claim(lane, self._owner, token, bell, list(self._refused)))

    def _work(self, claim: Claim) -> None:
        try:
            self._doer.do(claim, self._finish)
        except Unloadable as error:
            log.error("%s: %s; its jobs wait for another worker", claim.group, error)
            self._refused[claim.group] = time.monotonic() + REFUSED_FOR
            self._bell.ring(patiently(lambda: self._ledger.release(self._kind, self._owner)))
        except (TimeLimit, MemoryError) as error:
            log.error("%s: %s in a group of %d; each is tried alone", claim.group, type(error).__name__, len(claim.jobs))
            blame = self._ledger.isolate if len(claim.jobs) > 1 else self._ledger.bury
            self._bell.ring(patiently(lambda: blame(self._kind, self._owner)))

    def _finish(self, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()) -> None:
        """Raises EffectConflict. A finish whose reply was lost is sent again, and then refused as done already."""
        ended, rings = patiently(lambda: self._ledger.finish(self._owner, outcomes, effects))
        if ended < len(outcomes):
            log.warning("%d of %d jobs had been given to another, or were finished already", len(outcomes) - ended, len(outcomes))
        self._bell.ring(rings)


def patiently(call: Callable[[], T]) -> T:
    """The call's answer, however long Redis is away; Celery's hard time limit and the drain bound it."""
    while True:
        try:
            return call()
        except (LedgerUnavailable, LedgerFull):
            threading.Event().wait(RETRY)
