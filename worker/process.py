"""One worker process: a wakeup makes it serve its kind of jobs for a time slice; it listens when no job waits."""

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from compare_and_set import CompareAndSet
from jobs.codec import Wakeups
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.job import Claim, ClaimLater, ClaimRequest, Outcome, State
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender
from worker.time_limit import TimeLimit

T = TypeVar("T")

log = logging.getLogger("mldeploy.worker")

RETRY_INTERVAL = 0.2  # seconds between tries while Redis is away
MIN_LISTEN = 0.005  # seconds; 0 would make Redis block without a limit
MAX_LISTEN = 0.25  # seconds between two checks whether to drain
MAX_FINISH_BYTES = 1_000_000  # bytes of results in one call, unless it is a single larger result
MIN_SLICE = 0.7  # share of the time slice; a random length keeps processes from ending together
SECOND_LANE_EVERY = 4  # one claim in so many reads the second lane first
LOAD_RETRY_INTERVAL = 30.0  # seconds until this process retries a version that it could not load


class Unloadable(Exception):
    """This worker cannot load the claim's version; another may."""


Finish = Callable[[Sequence[Outcome], Sequence[CompareAndSet]], None]


class Handler(Protocol):
    """Executes claims. ``handle`` raises Unloadable, and TimeLimit or MemoryError if it does not know which job is at fault."""

    def handle(self, claim: Claim, finish: Finish) -> None: ...

    def on_idle(self) -> None:
        """Called before each claim, and a few times a second while no job waits."""


class Process:
    def __init__(
        self, kind: str, owner: str, ledger: Ledger, wakeup_sender: WakeupSender, handler: Handler, draining: Callable[[], bool]
    ) -> None:
        self._kind = kind
        self._owner = owner
        self._ledger = ledger
        self._wakeup_sender = wakeup_sender
        self._handler = handler
        self._draining = draining
        self._unloadable: dict[str, float] = {}  # group -> when to retry it
        self._claims = 0
        self._expected_seconds = 1.0  # a moving average of the time that a claim takes
        self._last_work = time.monotonic()
        self._slice_end = 0.0
        self._has_claimed_next = False  # the last finish claimed too …
        self._next: Claim | ClaimLater | None = None  # … with this result

    def serve(self, wakeup: str) -> bool:
        """Serves for a time slice. Returns whether the process had work recently and should keep listening. An unexpected error
        ends the process, and its parent then returns the jobs that it held."""
        try:
            return self._serve(wakeup)
        except Exception:
            log.exception("unexpected error while serving")
            logging.shutdown()
            os._exit(1)

    def _serve(self, wakeup: str) -> bool:
        """Serves the waiting jobs and those that arrive within the time slice. A process that had work recently keeps listening,
        so that some process always listens under steady traffic and for a while after."""
        self._slice_end = time.monotonic() + self._ledger.settings.time_slice * random.uniform(MIN_SLICE, 1)  # noqa: S311 - no secret
        self._has_claimed_next = False  # the sign-off ended the previous slice's claim
        while not self._slice_is_over():
            self._handler.on_idle()
            claim = self._next if self._has_claimed_next else self._claim(wakeup)
            self._has_claimed_next, self._next = False, None
            if isinstance(claim, Claim):
                self._work(claim)
            else:
                self._listen(claim.seconds if claim else float("inf"))
        self._wakeup_sender.send(retry_until_available(lambda: self._ledger.sign_off(self._kind, self._owner)))
        return time.monotonic() - self._last_work < self._ledger.settings.worker_idle_timeout and not self._draining()

    def _slice_is_over(self) -> bool:
        """False while a claim is still to be executed."""
        return not isinstance(self._next, Claim) and (self._draining() or time.monotonic() > self._slice_end)

    def _claim(self, wakeup: str) -> Claim | ClaimLater | None:
        """Retries until Redis is available. The token makes the claim idempotent if a reply is lost."""
        token, request = secrets.token_hex(8), self._claim_request()
        return retry_until_available(lambda: self._ledger.claim(self._owner, token, request, wakeup))

    def _claim_request(self) -> ClaimRequest:
        """Mostly reads the lane of small jobs first; now and then the other one, so that it is never starved."""
        now = time.monotonic()
        self._claims += 1
        self._unloadable = {group: until for group, until in self._unloadable.items() if until > now}
        return ClaimRequest(
            kind=self._kind,
            unloadable=tuple(self._unloadable),
            idle_seconds=max(0.001, self._slice_end - now),
            expected_seconds=self._expected_seconds,
            first_lane=int(self._claims % SECOND_LANE_EVERY == 0),
        )

    def _listen(self, timeout: float) -> None:
        """Waits until a wakeup arrives or ``timeout`` seconds have passed."""
        end = time.monotonic() + timeout
        while not self._slice_is_over() and time.monotonic() < end:
            seconds = max(MIN_LISTEN, min(MAX_LISTEN, self._slice_end - time.monotonic(), end - time.monotonic()))
            if retry_until_available(lambda: self._ledger.await_wakeup(self._owner, seconds)):  # noqa: B023 - called at once
                return
            self._handler.on_idle()

    def _work(self, claim: Claim) -> None:
        self._last_work = time.monotonic()
        try:
            self._handler.handle(claim, self._finish)
        except Unloadable as error:
            log.error("%s: %s; its jobs wait for another worker", claim.group, error)
            self._unloadable[claim.group] = time.monotonic() + LOAD_RETRY_INTERVAL
            self._wakeup_sender.send(retry_until_available(lambda: self._ledger.release(self._kind, self._owner)))
        except (TimeLimit, MemoryError) as error:
            log.error("%s: %s in a group of %d; each is tried alone", claim.group, type(error).__name__, len(claim.jobs))
            report = self._ledger.isolate if len(claim.jobs) > 1 else self._ledger.owner_died
            self._wakeup_sender.send(retry_until_available(lambda: report(self._kind, self._owner)))

    def _finish(self, outcomes: Sequence[Outcome], changes: Sequence[CompareAndSet] = ()) -> None:
        """Finishes the jobs and claims the next ones in the same call, unless there are changes, the time slice is over or the
        worker drains. A finish whose reply was lost is repeated, and then rejected as done already. Raises ChangesRejected."""
        self._expected_seconds += (time.monotonic() - self._last_work - self._expected_seconds) / 4
        *first, outcomes = _batches(outcomes)
        for batch in first:
            self._after_finish(batch, *retry_until_available(lambda: self._ledger.finish(self._owner, batch)))  # noqa: B023 - called at once
        if changes or time.monotonic() > self._slice_end or self._draining():
            ended, wakeups = retry_until_available(lambda: self._ledger.finish(self._owner, outcomes, changes))
        else:
            token, request = secrets.token_hex(8), self._claim_request()
            ended, wakeups, self._next = retry_until_available(
                lambda: self._ledger.finish_and_claim(self._owner, outcomes, token, request)
            )
            self._has_claimed_next = True
        self._after_finish(outcomes, ended, wakeups)

    def _after_finish(self, outcomes: Sequence[Outcome], ended: int, wakeups: Wakeups) -> None:
        for outcome in outcomes:
            if outcome.job.metadata.trace and outcome.state is not State.FAILED:  # the reconciler logs those that failed
                log.info("job %s %s traceparent=%s", outcome.job.id, outcome.state, outcome.job.metadata.trace)
        if ended < len(outcomes):
            lost = len(outcomes) - ended
            log.warning("%d of %d jobs had been passed to another worker, finished already, or canceled", lost, len(outcomes))
        self._wakeup_sender.send(wakeups)


def _batches(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """Batches of at most MAX_FINISH_BYTES, unless one result is larger. There is at least one batch, which may be empty."""
    batches, size = [list[Outcome]()], 0
    for outcome in outcomes:
        size += len(outcome.body)
        if size > MAX_FINISH_BYTES and batches[-1]:
            batches.append([])
            size = len(outcome.body)
        batches[-1].append(outcome)
    return list[Sequence[Outcome]](batches)


def retry_until_available(call: Callable[[], T]) -> T:
    """The call's result, repeated while Redis is away or full. Celery's hard time limit and the drain bound the wait."""
    while True:
        try:
            return call()
        except (LedgerUnavailable, LedgerFull):
            threading.Event().wait(RETRY_INTERVAL)
