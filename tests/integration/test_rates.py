"""Rate limits of keys on a real Redis and the real clock."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from auth.rates import STALE, Rates, RatesUnavailable, Store, TokenLease, Verdict
from jobs.ledger import Ledger
from settings import Settings
from tests.processes import Pieces, Running

Talk = Callable[[Rates, Rates], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened(url: str, prefix: str, timeout: float = 5.0) -> AsyncIterator[Rates]:
    rates = Rates(url, prefix, timeout)
    try:
        yield rates
    finally:
        await rates.close()


def in_two_processes(ledger: Ledger, talk: Talk) -> None:
    """Make two limiters as in two processes: each has connections and tokens of its own."""

    async def both() -> None:
        url = ledger.settings.redis_url
        async with opened(url, ledger.prefix) as one, opened(url, ledger.prefix) as other:
            await asyncio.wait_for(talk(one, other), 60)

    asyncio.run(both())


def scripts_run(ledger: Ledger) -> int:
    """Return how many scripts Redis has run."""
    return int(cast("Any", ledger.redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))


def granted(verdicts: list[Verdict]) -> int:
    return sum(verdict.allowed for verdict in verdicts)


def test_a_small_quota_is_exact_over_all_processes(ledger: Ledger) -> None:
    async def talk(one: Rates, other: Rates) -> None:
        verdicts = await asyncio.gather(*(rates.take("k", "7/3600") for rates in (one, other) for _ in range(40)))
        assert granted(verdicts) == 7
        assert granted(await asyncio.gather(*(one.take("another", "7/3600") for _ in range(40)))) == 7

    in_two_processes(ledger, talk)


@pytest.mark.parametrize("rate", ["200/1", "3000/1", "300/2"])
def test_no_more_is_granted_than_the_quota_and_what_refills(ledger: Ledger, rate: str) -> None:
    quota, window = map(int, rate.split("/"))

    async def talk(one: Rates, other: Rates) -> None:
        since, total, refused, again = time.monotonic(), 0, False, False
        while not again or time.monotonic() - since < 1.5:  # until some were granted after a refusal
            verdicts = await asyncio.gather(*(rates.take("k", rate) for rates in (one, other) for _ in range(25)))
            total += granted(verdicts)
            again = again or (refused and granted(verdicts) > 0)
            refused = refused or granted(verdicts) < len(verdicts)
        elapsed = time.monotonic() - since
        assert quota < total <= quota + elapsed * quota / window

    in_two_processes(ledger, talk)


def test_busy_key_seldom_calls_redis(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        before = scripts_run(ledger)
        for _n in range(2000):
            assert (await one.take("k", "1000000/60")).allowed
        assert scripts_run(ledger) - before < 200

    in_two_processes(ledger, talk)


def test_next_token_lease_arrives_before_anybody_waits(ledger: Ledger) -> None:
    """A take that does not wait ends in one step. Two seconds are twenty token leases."""

    async def talk(one: Rates, _: Rates) -> None:
        waited, until = 0, time.monotonic() + 2
        grown = until - 1.5
        while time.monotonic() < until:
            taking = one.take("k", "100000/1")
            try:
                taking.send(None)
            except StopIteration:
                pass
            else:
                taking.close()
                waited += time.monotonic() > grown
                assert (await one.take("k", "100000/1")).allowed
            await asyncio.sleep(0.001)
        assert waited <= 4, "one may: the machine was elsewhere"

    in_two_processes(ledger, talk)


def test_concurrent_requests_share_one_call(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        await one.take("k", "1000/3600")
        before = scripts_run(ledger)
        assert granted(await asyncio.gather(*(one.take("k", "1000/3600") for _ in range(50)))) == 50
        assert scripts_run(ledger) - before < 20

    in_two_processes(ledger, talk)


def test_redis_is_not_called_before_a_token_can_be_there(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        while (await one.take("k", "5/3600")).allowed:
            pass
        before = scripts_run(ledger)
        assert granted([await one.take("k", "5/3600") for _ in range(500)]) == 0
        assert scripts_run(ledger) == before

    in_two_processes(ledger, talk)


def test_decision_says_what_is_left_and_when_to_retry(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        first, *rest = [await one.take("k", "3/3600") for _ in range(4)]
        assert first == Verdict(allowed=True, quota=3, window=3600, remaining=2, reset=1200, retry_after=0)
        assert [(verdict.allowed, verdict.remaining) for verdict in rest] == [(True, 1), (True, 0), (False, 0)]
        assert 1000 < rest[-1].retry_after <= 1200
        assert rest[-1].reset == 3600

    in_two_processes(ledger, talk)


def test_retry_after_the_stated_time_is_accepted(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        while (refused := await one.take("k", "1/1")).allowed:
            pass
        assert refused.retry_after == 1
        await asyncio.sleep(refused.retry_after)  # the delay that is tested
        assert (await one.take("k", "1/1")).allowed

    in_two_processes(ledger, talk)


def test_tokens_that_were_not_used_in_time_are_dropped(ledger: Ledger) -> None:
    async def talk() -> None:
        store = Store(ledger.settings.redis_url, 5.0)
        lease = TokenLease("k", "1000/3600", store, ledger.prefix)
        for _ in range(3):
            await lease.renew()
            assert lease.spend(time.monotonic())
        assert lease.spend(time.monotonic() + STALE) is None
        assert lease.spend(time.monotonic())
        await store.close()

    asyncio.run(talk())


def test_canceled_request_leaves_the_other_waiters_their_tokens(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        leaves, stays = (asyncio.create_task(one.take("k", "10/60")) for _ in range(2))
        await asyncio.sleep(0)
        assert leaves.cancel()
        assert (await stays).allowed
        with suppress(asyncio.CancelledError):
            await leaves

    in_two_processes(ledger, talk)


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[tuple[Settings, Running]]:
    """Start a Redis for one test."""
    pieces = Pieces(Settings(), tmp_path)
    try:
        yield pieces.settings, pieces.redis()
    finally:
        pieces.stop()


def test_redis_outage_raises_and_is_soon_forgotten(frail: tuple[Settings, Running]) -> None:
    settings, running = frail

    async def talk() -> None:
        async with opened(settings.redis_url, "p:2:", timeout=0.3) as rates:
            assert (await rates.take("k", "5/3600")).remaining == 4
            running.signal_all(signal.SIGSTOP)
            for key in ("k", "other", "k"):
                with pytest.raises(RatesUnavailable):
                    await asyncio.wait_for(rates.take(key, "5/3600"), 10)
            running.signal_all(signal.SIGCONT)
            verdicts = [await until_answered(rates, key, rate) for key, rate in (("new", "9/3600"), ("k", "5/3600"))]
            assert [(verdict.allowed, verdict.quota) for verdict in verdicts] == [(True, 9), (True, 5)]
            assert verdicts[0].remaining == 8  # no late reply of another command

    asyncio.run(talk())


async def until_answered(rates: Rates, key: str, rate: str) -> Verdict:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(RatesUnavailable):
            return await rates.take(key, rate)
        await asyncio.sleep(0.02)
    raise AssertionError("Redis is back, and rates are not")


def test_missing_redis_raises_at_once(tmp_path: Path) -> None:
    async def talk() -> None:
        async with opened(f"unix://{tmp_path}/none.sock", "p:2:", timeout=60) as rates:
            with pytest.raises(RatesUnavailable):
                # Well before the time-out: a refused connection fails at once
                await asyncio.wait_for(rates.take("k", "5/3600"), 20)

    asyncio.run(talk())
