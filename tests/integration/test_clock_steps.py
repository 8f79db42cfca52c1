"""Redis's clock is set 600 s back or forward: what each of the ledger's scripts does then."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from auth.rates import Rates
from jobs.errors import LedgerUnavailable
from jobs.job import Claim, ClaimRequest, Kind, State
from jobs.ledger import Ledger
from jobs.reconciler import Reconciler
from settings import Settings
from tests.integration.jobs import accepted, add, claim, ids, job, on_terms, record_of, state, succeeded
from tests.processes import Pieces, until
from tests.server_clock import ServerClock

pytestmark = pytest.mark.slow

NAMES = itertools.count()
LEASE = 2.0
STEPS = (-600, 600)


class Clocked:
    """A ledger whose Redis's clock can be set, and its reconciler, which runs on demand."""

    def __init__(self, settings: Settings, clock: ServerClock) -> None:
        self._clock = clock
        self.ledger = Ledger(settings)
        self._reconciler = Reconciler(settings)
        self.round()

    def set(self, seconds: int) -> None:
        """Set the clock and wait until the server, which reads it now and then, has seen it."""
        before = self._off()
        self._clock.set(seconds)
        until(lambda: abs(self._off() - before) > 300, 2, "the server's clock is set")

    def _off(self) -> float:
        return float(self.ledger.redis.time()[0] - time.time())

    def round(self) -> bool:
        self._reconciler.round()
        return True

    def rounds(self, seconds: float) -> None:
        """Run rounds at the reconciler's own interval."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)  # the time that is measured
            self.round()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, ServerClock]]:
    pieces = Pieces(Settings(lease=LEASE), tmp_path_factory.mktemp("clock"))
    clock = ServerClock(pieces.folder)
    try:
        pieces.redis(clock.environment)
        yield pieces.settings, clock
    finally:
        pieces.stop()


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def clocked(server: tuple[Settings, ServerClock]) -> Iterator[Clocked]:
    settings, clock = server
    yield Clocked(settings.replace(key_prefix=f"clock{next(NAMES)}"), clock)
    clock.set(0)


def retry_if_late(call: Any) -> Any:
    """Call, and call again as workers do if the clock step made the first call too late."""
    with suppress(LedgerUnavailable):
        return call()
    return call()


def test_ledger_time_goes_on_and_returns_to_the_clock(clocked: Clocked, step: int) -> None:
    one, began = accepted(clocked.ledger), time.monotonic()
    created = record_of(clocked.ledger, one.id).created_at
    clocked.set(step)
    clocked.rounds(1.0)
    ahead = int(clocked.ledger.redis.hget(clocked.ledger.prefix + "clock", "ahead") or 0)
    assert 590_000 < abs(ahead) < 600_000
    two = retry_if_late(lambda: accepted(clocked.ledger))
    passed = record_of(clocked.ledger, two.id).created_at - created
    assert abs(passed - 1000 * (time.monotonic() - began)) < 500


def test_time_goes_on_after_a_step_back_without_a_reconciler(clocked: Clocked) -> None:
    clocked.set(-600)
    accepted(clocked.ledger)  # the first script that writes adjusts the offset
    clocked.ledger.renew("predict", ["w:1"])
    first = record_of(clocked.ledger, retry_if_late(lambda: accepted(clocked.ledger)).id).created_at
    time.sleep(0.5)  # the time that is measured
    second = record_of(clocked.ledger, retry_if_late(lambda: accepted(clocked.ledger)).id).created_at
    assert 450 < second - first < 1500


def test_add_accepts_at_once(clocked: Clocked, step: int) -> None:
    add(clocked.ledger, job(clocked.ledger))
    clocked.set(step)
    later = job(clocked.ledger)
    retry_if_late(lambda: add(clocked.ledger, later))
    assert state(clocked.ledger, later.id) is State.QUEUED


def test_claim_expires_nothing_early_or_late(clocked: Clocked, step: int) -> None:
    before = accepted(clocked.ledger, expires_in=60.0)
    clocked.set(step)
    meanwhile = on_terms(clocked.ledger, expires_in=1.5)
    retry_if_late(lambda: add(clocked.ledger, meanwhile))
    began = time.monotonic()
    clocked.round()
    assert state(clocked.ledger, before.id) is State.QUEUED
    assert state(clocked.ledger, meanwhile.id) is State.QUEUED
    clocked.rounds(1.0)
    assert state(clocked.ledger, meanwhile.id) is State.QUEUED
    until(lambda: clocked.round() and state(clocked.ledger, meanwhile.id) is State.EXPIRED, 3, "its deadline comes")
    assert time.monotonic() - began < 3
    assert ids(retry_if_late(lambda: claim(clocked.ledger))) == [before.id]


def test_claim_works_before_the_step_is_noticed(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger, expires_in=60.0)
    clocked.set(step)
    assert ids(retry_if_late(lambda: claim(clocked.ledger))) == [one.id]


def test_a_backlog_beside_another_version_goes_on(clocked: Clocked, step: int) -> None:
    ledger = Ledger(clocked.ledger.settings.replace(claim_jobs=5))
    add(ledger, *(job(ledger, version=1) for _ in range(40)), *(job(ledger, version=2) for _ in range(3)))
    claimed = claim(ledger, "w:1", "a")
    ledger.finish("w:1", succeeded(claimed))
    ledger.claim("w:1", "b", ClaimRequest("predict", idle_seconds=1.0))
    clocked.set(step)
    taken, tokens = set[str](), itertools.count()

    def take() -> int:
        found = retry_if_late(lambda: ledger.claim("w:1", f"t{next(tokens)}", ClaimRequest("predict", idle_seconds=1.0)))
        taken.update(ids(found))
        if ids(found):
            ledger.finish("w:1", succeeded(found))
        clocked.round()
        return len(taken)

    until(lambda: take() >= 33, LEASE, "all of it is claimed")


def test_a_dead_owners_lease_lasts_no_longer_than_a_lease(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger)
    claim(clocked.ledger)
    clocked.set(step)
    took = until(lambda: clocked.round() and state(clocked.ledger, one.id) is State.QUEUED, 3 * LEASE, "it is given back")
    assert took < LEASE + 1


def test_a_claim_made_while_the_clock_is_wrong_is_leased_for_a_lease(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger)
    clocked.set(step)
    retry_if_late(lambda: claim(clocked.ledger))
    took = until(lambda: clocked.round() and state(clocked.ledger, one.id) is State.QUEUED, 3 * LEASE, "it is given back")
    assert took < LEASE + 1


def test_a_live_owner_keeps_its_work(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger)
    claim(clocked.ledger)
    clocked.set(step)
    end = time.monotonic() + 2 * LEASE
    while time.monotonic() < end:
        held, starved = clocked.ledger.renew("predict", ["w:1"])
        clocked.round()
        assert (held, starved) == (1, 0.0)
        assert state(clocked.ledger, one.id) is State.RUNNING
        time.sleep(0.2)  # the time that is measured
    assert record_of(clocked.ledger, one.id).attempts == 1


def test_waiting_time_is_not_measured_across_a_step(clocked: Clocked, step: int) -> None:
    accepted(clocked.ledger)
    clocked.ledger.renew("predict", ["w:1"])
    clocked.set(step)
    clocked.round()
    _, starved = clocked.ledger.renew("predict", ["w:1"])
    assert starved < 5


def test_finish_ends_a_job(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger)
    claimed = claim(clocked.ledger)
    clocked.set(step)
    assert clocked.ledger.finish("w:1", succeeded(claimed))[0] == 1
    clocked.round()
    record = record_of(clocked.ledger, one.id)
    assert record.state is State.SUCCEEDED


def test_results_keep_their_retention(server: tuple[Settings, ServerClock], step: int) -> None:
    settings, clock = server
    clocked = Clocked(settings.replace(key_prefix=f"clock{next(NAMES)}", keep=2.0), clock)
    try:
        one = accepted(clocked.ledger)
        clocked.ledger.finish("w:1", succeeded(claim(clocked.ledger)))
        began = time.monotonic()
        clocked.set(step)
        clocked.rounds(1.0)
        assert state(clocked.ledger, one.id) is State.SUCCEEDED
        until(lambda: clocked.round() and state(clocked.ledger, one.id) is None, 4, "it is forgotten")
        assert 1.5 < time.monotonic() - began < 4
    finally:
        clock.set(0)


def test_results_from_before_the_correction_keep_their_retention(server: tuple[Settings, ServerClock], step: int) -> None:
    settings, clock = server
    clocked = Clocked(settings.replace(key_prefix=f"clock{next(NAMES)}", keep=2.0), clock)
    one = accepted(clocked.ledger)
    claimed = claim(clocked.ledger)
    assert isinstance(claimed, Claim)
    clocked.set(step)
    try:
        clocked.ledger.finish("w:1", succeeded(claimed))
        clocked.rounds(1.0)
        assert state(clocked.ledger, one.id) is State.SUCCEEDED
        until(lambda: clocked.round() and state(clocked.ledger, one.id) is None, 4, "it is forgotten")
    finally:
        clock.set(0)


def test_repeated_finish_claims_although_memory_is_full_and_the_clock_was_set_back(clocked: Clocked) -> None:
    """All outcomes are refused then, so that nothing but the clock's distance is written first."""
    ledger = clocked.ledger
    accepted(ledger)
    claimed = claim(ledger)
    ledger.finish("w:1", succeeded(claimed))
    one = accepted(ledger)
    clocked.set(-600)
    ledger.redis.config_set("maxmemory", 1)
    try:
        ended, _, then = ledger.finish_and_claim("w:1", succeeded(claimed), "t2", ClaimRequest("predict"))
        assert (ended, ids(then)) == (0, [one.id])
    finally:
        ledger.redis.config_set("maxmemory", ledger.settings.maxmemory)


def test_work_is_released(clocked: Clocked, step: int) -> None:
    one = accepted(clocked.ledger)
    claim(clocked.ledger)
    clocked.set(step)
    retry_if_late(lambda: clocked.ledger.release("predict", "w:1"))
    assert state(clocked.ledger, one.id) is State.QUEUED


def test_jobs_are_canceled_and_running_ones_stopped(clocked: Clocked, step: int) -> None:
    waiting, running = job(clocked.ledger), job(clocked.ledger, kind=Kind.TRAIN)
    add(clocked.ledger, waiting, running)
    claim(clocked.ledger, "t:1", kind="train")
    clocked.set(step)
    assert clocked.ledger.cancel(waiting.id)[0] == "canceled"
    assert clocked.ledger.cancel(running.id)[0] == "canceling"
    assert clocked.ledger.stop_canceled("train", ["t:1"])[0] == ["t:1"]
    assert state(clocked.ledger, running.id) is State.CANCELED


def test_a_delivery_is_tried_again_when_it_is_due(clocked: Clocked, step: int) -> None:
    accepted(clocked.ledger, host="told.example")
    clocked.ledger.finish("w:1", succeeded(claim(clocked.ledger)))
    delivery = claim(clocked.ledger, "h:1", kind="webhook").jobs[0]
    clocked.ledger.deliver("h:1", delivery, b'{"at":"","error":""}', 1.5, b"body")
    began = time.monotonic()
    clocked.set(step)
    claimed: list[str] = []

    def due() -> bool:
        clocked.round()
        claimed.extend(ids(retry_if_late(lambda: clocked.ledger.claim("h:1", f"t{time.monotonic()}", ClaimRequest("webhook")))))
        return bool(claimed)

    until(due, 4, "it is tried again")
    assert 1.0 < time.monotonic() - began < 3.5


def test_reading_listing_reporting_retiring_and_signing_off_go_on(clocked: Clocked, step: int) -> None:
    ledger = clocked.ledger
    one = accepted(ledger)
    claimed = claim(ledger)
    clocked.set(step)
    assert record_of(ledger, one.id).state is State.RUNNING
    assert ledger.report("w:1", claimed.jobs[0], b'{"done":1,"total":2,"stage":"fit"}')
    assert [job_id for _, job_id in ledger.list_jobs("", None, 10, 10, ("", "", "", ""))[0]] == [one.id]
    assert ledger.retire("model:iris", 1, "iris/1") == "open"
    ledger.sign_off("predict", "w:2")
    clocked.round()
    assert ledger.live_owners("predict") == ["w:1"]
    assert (ledger.since_reconciled() or 0) < 650


def test_a_wakeup_that_was_lost_is_sent_again(server: tuple[Settings, ServerClock], step: int) -> None:
    settings, clock = server
    clocked = Clocked(settings.replace(key_prefix=f"clock{next(NAMES)}", wakeup_timeout=0.5), clock)
    try:
        clocked.ledger.renew("predict", ["w:1"])
        assert len(clocked.ledger.add([job(clocked.ledger)])[1]) == 1
        clocked.set(step)
        until(lambda: clocked.ledger.reconcile(5.0).wakeups, 4, "a wake-up is sent again")
    finally:
        clock.set(0)


def test_rate_limited_key_is_not_locked_out(clocked: Clocked, step: int) -> None:
    async def take_twice() -> list[bool]:
        rates = Rates(clocked.ledger.settings.redis_url, clocked.ledger.prefix, 1.2)
        first = await rates.take("k", "3/60")
        clocked.set(step)
        second = await rates.take("k", "3/60")
        await rates.close()
        return [first.allowed, second.allowed]

    assert asyncio.run(take_twice()) == [True, True]


def test_leases_hold_after_redis_starts_on_a_machine_with_another_clock(server: tuple[Settings, ServerClock], step: int) -> None:
    """No reconciler saw the step."""
    settings, clock = server
    settings = settings.replace(key_prefix=f"clock{next(NAMES)}")
    clocked = Clocked(settings, clock)
    try:
        one = accepted(clocked.ledger)
        claim(clocked.ledger)
        clocked.set(step)
        another = Clocked(settings, clock)
        took = until(lambda: another.round() and state(another.ledger, one.id) is State.QUEUED, 3 * LEASE, "it is given back")
        assert took < LEASE + 1
    finally:
        clock.set(0)
