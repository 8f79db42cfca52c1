"""Rates of keys on a real Redis and the real clock."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from auth.rates import STALE, Rates, RatesUnavailable, Share, Store, Verdict
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
    """As far as Redis can tell: each has connections and tokens of its own."""

    async def both() -> None:
        url = ledger.settings.redis_url
        async with opened(url, ledger.prefix) as one, opened(url, ledger.prefix) as other:
            await asyncio.wait_for(talk(one, other), 60)

    asyncio.run(both())


def asked(ledger: Ledger) -> int:
    """How many scripts Redis has run."""
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


def test_a_busy_key_seldom_asks_redis(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        before = asked(ledger)
        for _n in range(2000):
            assert (await one.take("k", "1000000/60")).allowed
        assert asked(ledger) - before < 200

    in_two_processes(ledger, talk)


def test_the_next_handful_is_there_before_anybody_waits_for_it(ledger: Ledger) -> None:
    """A take that does not have to wait is over in one step. Two seconds are twenty handfuls."""

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


def test_those_who_ask_at_once_share_the_answer(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        await one.take("k", "1000/3600")
        before = asked(ledger)
        assert granted(await asyncio.gather(*(one.take("k", "1000/3600") for _ in range(50)))) == 50
        assert asked(ledger) - before < 20

    in_two_processes(ledger, talk)


def test_while_no_token_can_be_there_nobody_asks(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        while (await one.take("k", "5/3600")).allowed:
            pass
        before = asked(ledger)
        assert granted([await one.take("k", "5/3600") for _ in range(500)]) == 0
        assert asked(ledger) == before

    in_two_processes(ledger, talk)


def test_a_verdict_tells_what_is_left_and_when_to_come_again(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        first, *rest = [await one.take("k", "3/3600") for _ in range(4)]
        assert first == Verdict(allowed=True, quota=3, window=3600, remaining=2, reset=1200, retry_after=0)
        assert [(verdict.allowed, verdict.remaining) for verdict in rest] == [(True, 1), (True, 0), (False, 0)]
        assert 1000 < rest[-1].retry_after <= 1200
        assert rest[-1].reset == 3600

    in_two_processes(ledger, talk)


def test_who_comes_again_when_told_is_served(ledger: Ledger) -> None:
    async def talk(one: Rates, _: Rates) -> None:
        while (refused := await one.take("k", "1/1")).allowed:
            pass
        assert refused.retry_after == 1
        await asyncio.sleep(refused.retry_after)  # what the test is about
        assert (await one.take("k", "1/1")).allowed

    in_two_processes(ledger, talk)


def test_tokens_that_were_not_used_in_time_are_dropped(ledger: Ledger) -> None:
    async def talk() -> None:
        store = Store(ledger.settings.redis_url, 5.0)
        share = Share("k", "1000/3600", store, ledger.prefix)
        for _ in range(3):
            await share.fill()
            assert share.spend(time.monotonic())
        assert share.spend(time.monotonic() + STALE) is None
        assert share.spend(time.monotonic())
        await store.close()

    asyncio.run(talk())


def test_one_who_leaves_takes_nothing_from_those_who_wait_with_him(ledger: Ledger) -> None:
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
    """A Redis of one's own."""
    pieces = Pieces(Settings(), tmp_path)
    try:
        yield pieces.settings, pieces.redis()
    finally:
        pieces.stop()


def test_redis_away_is_told_and_soon_forgotten(frail: tuple[Settings, Running]) -> None:
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
            assert verdicts[0].remaining == 8  # no late reply to another's question

    asyncio.run(talk())


async def until_answered(rates: Rates, key: str, rate: str) -> Verdict:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(RatesUnavailable):
            return await rates.take(key, rate)
        await asyncio.sleep(0.02)
    raise AssertionError("Redis is back, and rates are not")


def test_no_redis_at_all_is_told_at_once(tmp_path: Path) -> None:
    async def talk() -> None:
        async with opened(f"unix://{tmp_path}/none.sock", "p:2:", timeout=60) as rates:
            with pytest.raises(RatesUnavailable):
                await asyncio.wait_for(rates.take("k", "5/3600"), 20)  # well before the time-out: a refusal is an answer

    asyncio.run(talk())
