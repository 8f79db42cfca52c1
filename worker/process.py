"""One worker process: answers a knock by serving its kind of jobs for a time slice, lingering when nothing waits."""

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from jobs.codec import Wakeups
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.job import Claim, ClaimLater, ClaimRequest, Effect, Outcome, State
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender
from worker.time_limit import TimeLimit

T = TypeVar("T")

log = logging.getLogger("mldeploy.worker")

RETRY = 0.2  # seconds between tries while Redis is away
MIN_LINGER = 0.005  # seconds; Redis takes 0 for ever
MAX_LINGER = 0.25  # seconds until it looks whether it is to drain
MAX_FINISHED = 1_000_000  # bytes of results in one call, or one result
MIN_SLICE = 0.7  # of the time slice: processes that began together do not end together
OTHERS_EVERY = 4  # claims look into the second lane first once in so many
REFUSED_FOR = 30.0  # seconds until a version that could not be loaded here is tried again


class Unloadable(Exception):
    """This worker cannot load the claim's version; another may."""


Finish = Callable[[Sequence[Outcome], Sequence[Effect]], None]


class Handler(Protocol):
    """Does a claim's work. Raises Unloadable; TimeLimit or MemoryError when it cannot tell which job is at fault."""

    def handle(self, claim: Claim, finish: Finish) -> None: ...

    def on_idle(self) -> None:
        """Called before each claim, and a few times a second while nothing waits."""


class Process:
    def __init__(
        self, kind: str, owner: str, ledger: Ledger, wakeup: WakeupSender, handler: Handler, draining: Callable[[], bool]
    ) -> None:
        self._kind = kind
        self._owner = owner
        self._ledger = ledger
        self._wakeup_sender = wakeup
        self._handler = handler
        self._draining = draining
        self._refused: dict[str, float] = {}  # group -> when to try it again
        self._claims = 0
        self._usual = 1.0  # seconds of a claim's work, lately
        self._last_work = time.monotonic()
        self._over = 0.0  # when the time slice is
        self._asked = False  # for work, together with the last finish …
        self._next: Claim | ClaimLater | None = None  # … and this is what was given

    def serve(self, wakeup: str) -> bool:
        """Whether it had work lately, and is to listen on. An error of our own ends the process: its parent then gives back
        whatever it held."""
        try:
            return self._serve(wakeup)
        except Exception:
            log.exception("an error of our own while serving")
            logging.shutdown()
            os._exit(1)

    def _serve(self, wakeup: str) -> bool:
        """For a time slice: all that waits, and then what comes. One who had work lately is to listen on, so that under steady
        traffic, and for a while after, somebody always does."""
        self._over = time.monotonic() + self._ledger.settings.time_slice * random.uniform(MIN_SLICE, 1)  # noqa: S311 - no secret
        self._asked = False  # what was asked for at the end of the slice before has been signed off
        while not self._finished():
            self._handler.on_idle()
            claim = self._next if self._asked else self._claim(wakeup)
            self._asked, self._next = False, None
            if isinstance(claim, Claim):
                self._work(claim)
            else:
                self._linger(claim.seconds if claim else float("inf"))
        self._wakeup_sender.send(patiently(lambda: self._ledger.sign_off(self._kind, self._owner)))
        return time.monotonic() - self._last_work < self._ledger.settings.worker_idle_timeout and not self._draining()

    def _finished(self) -> bool:
        """With work claimed already, not before that is done."""
        return not isinstance(self._next, Claim) and (self._draining() or time.monotonic() > self._over)

    def _claim(self, wakeup: str) -> Claim | ClaimLater | None:
        """Tries until Redis answers: a claim whose reply was lost is asked for again by its token."""
        token, request = secrets.token_hex(8), self._claim_request()
        return patiently(lambda: self._ledger.claim(self._owner, token, request, wakeup))

    def _claim_request(self) -> ClaimRequest:
        """Mostly for small jobs first; the others are never starved."""
        now = time.monotonic()
        self._claims += 1
        self._refused = {group: until for group, until in self._refused.items() if until > now}
        return ClaimRequest(
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
            seconds = max(MIN_LINGER, min(MAX_LINGER, self._over - time.monotonic(), end - time.monotonic()))
            if patiently(lambda: self._ledger.await_wake(self._owner, seconds)):  # noqa: B023 - called at once
                return
            self._handler.on_idle()

    def _work(self, claim: Claim) -> None:
        self._last_work = time.monotonic()
        try:
            self._handler.handle(claim, self._finish)
        except Unloadable as error:
            log.error("%s: %s; its jobs wait for another worker", claim.group, error)
            self._refused[claim.group] = time.monotonic() + REFUSED_FOR
            self._wakeup_sender.send(patiently(lambda: self._ledger.release(self._kind, self._owner)))
        except (TimeLimit, MemoryError) as error:
            log.error("%s: %s in a group of %d; each is tried alone", claim.group, type(error).__name__, len(claim.jobs))
            blame = self._ledger.isolate if len(claim.jobs) > 1 else self._ledger.owner_died
            self._wakeup_sender.send(patiently(lambda: blame(self._kind, self._owner)))

    def _finish(self, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()) -> None:
        """Raises EffectConflict. A finish whose reply was lost is sent again, and then refused as done already. Where nothing
        stands against it the next claim goes with it."""
        self._usual += (time.monotonic() - self._last_work - self._usual) / 4
        *first, outcomes = _parts(outcomes)
        for part in first:
            self._ended(part, *patiently(lambda: self._ledger.finish(self._owner, part)))  # noqa: B023 - called at once
        if effects or time.monotonic() > self._over or self._draining():
            ended, wakeups = patiently(lambda: self._ledger.finish(self._owner, outcomes, effects))
        else:
            token, request = secrets.token_hex(8), self._claim_request()
            ended, wakeups, self._next = patiently(lambda: self._ledger.finish_and_claim(self._owner, outcomes, token, request))
            self._asked = True
        self._ended(outcomes, ended, wakeups)

    def _ended(self, outcomes: Sequence[Outcome], ended: int, wakeups: Wakeups) -> None:
        for outcome in outcomes:
            if outcome.job.more.trace and outcome.state is not State.FAILED:  # the reconciler logs those that failed
                log.info("job %s %s traceparent=%s", outcome.job.id, outcome.state, outcome.job.more.trace)
        if ended < len(outcomes):
            lost = len(outcomes) - ended
            log.warning("%d of %d jobs had been given to another, finished already, or canceled", lost, len(outcomes))
        self._wakeup_sender.send(wakeups)


def _parts(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """Each of so many bytes that Redis takes it beside what else is on its way; one at least, which may be empty."""
    parts, size = [list[Outcome]()], 0
    for outcome in outcomes:
        size += len(outcome.body)
        if size > MAX_FINISHED and parts[-1]:
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
