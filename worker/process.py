"""One worker process: answers a knock by serving its kind of jobs for a time slice, lingering when nothing waits."""

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from jobs.codec import Rings
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.job import Appetite, Claim, Effect, Outcome, Rest, State
from jobs.ledger import Ledger
from jobs.wakeup import Bell
from worker.time_limit import TimeLimit

T = TypeVar("T")

log = logging.getLogger("mldeploy.worker")

RETRY = 0.2  # seconds between tries while Redis is away
SHORTEST_LINGER = 0.005  # seconds; Redis takes 0 for ever
LONGEST_LINGER = 0.25  # seconds until it looks whether it is to drain
MOST_FINISHED = 1_000_000  # bytes of results in one call, or one result
SHORTEST_SLICE = 0.7  # of the time slice: processes that began together do not end together
OTHERS_EVERY = 4  # claims look into the second lane first once in so many
REFUSED_FOR = 30.0  # seconds until a version that could not be loaded here is tried again


class Unloadable(Exception):
    """This worker cannot load the claim's version; another may."""


Finish = Callable[[Sequence[Outcome], Sequence[Effect]], None]


class Doer(Protocol):
    """Does a claim's work. Raises Unloadable; TimeLimit or MemoryError when it cannot tell which job is at fault."""

    def do(self, claim: Claim, finish: Finish) -> None: ...

    def between(self) -> None:
        """Called before each claim, and a few times a second while nothing waits."""


class Process:
    def __init__(self, kind: str, owner: str, ledger: Ledger, bell: Bell, doer: Doer, draining: Callable[[], bool]) -> None:
        self._kind = kind
        self._owner = owner
        self._ledger = ledger
        self._bell = bell
        self._doer = doer
        self._draining = draining
        self._refused: dict[str, float] = {}  # group -> when to try it again
        self._claims = 0
        self._usual = 1.0  # seconds of a claim's work, lately
        self._last_work = time.monotonic()
        self._over = 0.0  # when the time slice is
        self._asked = False  # for work, together with the last finish …
        self._next: Claim | Rest | None = None  # … and this is what was given

    def serve(self, bell: str) -> bool:
        """Whether it had work lately, and is to listen on. An error of our own ends the process: its parent then gives back
        whatever it held."""
        try:
            return self._serve(bell)
        except Exception:
            log.exception("an error of our own while serving")
            logging.shutdown()
            os._exit(1)

    def _serve(self, bell: str) -> bool:
        """For a time slice: all that waits, and then what comes. One who had work lately is to listen on, so that under steady
        traffic, and for a while after, somebody always does."""
        self._over = time.monotonic() + self._ledger.settings.time_slice * random.uniform(SHORTEST_SLICE, 1)  # noqa: S311 - no secret
        self._asked = False  # what was asked for at the end of the slice before has been signed off
        while not self._finished():
            self._doer.between()
            claim = self._next if self._asked else self._claim(bell)
            self._asked, self._next = False, None
            if isinstance(claim, Claim):
                self._work(claim)
            else:
                self._linger(claim.seconds if claim else float("inf"))
        self._bell.ring(patiently(lambda: self._ledger.sign_off(self._kind, self._owner)))
        return time.monotonic() - self._last_work < self._ledger.settings.linger and not self._draining()

    def _finished(self) -> bool:
        """With work claimed already, not before that is done."""
        return not isinstance(self._next, Claim) and (self._draining() or time.monotonic() > self._over)

    def _claim(self, bell: str) -> Claim | Rest | None:
        """Tries until Redis answers: a claim whose reply was lost is asked for again by its token."""
        token, appetite = secrets.token_hex(8), self._appetite()
        return patiently(lambda: self._ledger.claim(self._owner, token, appetite, bell))

    def _appetite(self) -> Appetite:
        """Mostly for small jobs first; the others are never starved."""
        now = time.monotonic()
        self._claims += 1
        self._refused = {group: until for group, until in self._refused.items() if until > now}
        return Appetite(
            kind=self._kind,
            unloadable=tuple(self._refused),
            linger=max(0.001, self._over - now),
            usual=self._usual,
            first_lane=int(self._claims % OTHERS_EVERY == 0),
        )

    def _linger(self, most: float) -> None:
        """Until it is woken, or ``most`` seconds have passed."""
        end = time.monotonic() + most
        while not self._finished() and time.monotonic() < end:
            seconds = max(SHORTEST_LINGER, min(LONGEST_LINGER, self._over - time.monotonic(), end - time.monotonic()))
            if patiently(lambda: self._ledger.await_wake(self._owner, seconds)):  # noqa: B023 - called at once
                return
            self._doer.between()

    def _work(self, claim: Claim) -> None:
        self._last_work = time.monotonic()
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
        """Raises EffectConflict. A finish whose reply was lost is sent again, and then refused as done already. Where nothing
        stands against it the next claim goes with it."""
        self._usual += (time.monotonic() - self._last_work - self._usual) / 4
        *first, outcomes = _parts(outcomes)
        for part in first:
            self._ended(part, *patiently(lambda: self._ledger.finish(self._owner, part)))  # noqa: B023 - called at once
        if effects or time.monotonic() > self._over or self._draining():
            ended, rings = patiently(lambda: self._ledger.finish(self._owner, outcomes, effects))
        else:
            token, appetite = secrets.token_hex(8), self._appetite()
            ended, rings, self._next = patiently(lambda: self._ledger.finish_and_claim(self._owner, outcomes, token, appetite))
            self._asked = True
        self._ended(outcomes, ended, rings)

    def _ended(self, outcomes: Sequence[Outcome], ended: int, rings: Rings) -> None:
        for outcome in outcomes:
            if outcome.job.more.trace and outcome.state is not State.FAILED:  # the reconciler logs those that failed
                log.info("job %s %s traceparent=%s", outcome.job.id, outcome.state, outcome.job.more.trace)
        if ended < len(outcomes):
            lost = len(outcomes) - ended
            log.warning("%d of %d jobs had been given to another, finished already, or canceled", lost, len(outcomes))
        self._bell.ring(rings)


def _parts(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """Each of so many bytes that Redis takes it beside what else is on its way; one at least, which may be empty."""
    parts, size = [list[Outcome]()], 0
    for outcome in outcomes:
        size += len(outcome.body)
        if size > MOST_FINISHED and parts[-1]:
            parts.append([])
            size = len(outcome.body)
        parts[-1].append(outcome)
    return list[Sequence[Outcome]](parts)


def patiently(call: Callable[[], T]) -> T:
    """The call's answer, however long Redis is away; Celery's hard time limit and the drain bound it."""
    while True:
        try:
            return call()
        except (LedgerUnavailable, LedgerFull):
            threading.Event().wait(RETRY)
