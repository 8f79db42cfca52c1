"""How often a key may call: a bucket of tokens for each key, in Redis, of which every process takes handfuls to spend.

The bucket is throttled-py's GCRA: a bucket kept as the one time at which it is full. Its "token_bucket" counts whole seconds
and forgets the rest at each take: 90 a minute became 55.

``<prefix>rate:v1:gcra:<id>``  when the bucket of this key is full; expires then
"""

import asyncio
import math
from datetime import timedelta
from functools import lru_cache
from time import monotonic
from typing import NamedTuple, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from throttled.asyncio import RedisStore, Throttled, per_duration
from throttled.exceptions import BaseThrottledError

LASTING = 0.5  # seconds that a handful should last; each is a write to Redis, and its sync to disk
PACE = 0.1  # seconds between two looks at an empty bucket
STALE = 1.0  # seconds after which what is left of a handful is dropped
MANY = 20  # tokens; a handful as large is followed by the next when half of it is gone, before anybody waits for it
CLOCK_TOLERANCE = 2.0  # seconds
AWAY = 0.5  # seconds that Redis is left alone after it failed to answer
CONNECTIONS = 8


class RatesUnavailable(RuntimeError):
    """Nobody knows whether the key may call: Redis does not answer."""


class Verdict(NamedTuple):
    """``quota`` requests in ``window`` seconds; ``reset``: seconds until all of them are there again."""

    allowed: bool
    quota: int
    window: int
    remaining: int
    reset: int
    retry_after: int  # seconds; 0 if allowed


class Store(RedisStore):
    """The library's, which does not say how to close its connections."""

    def __init__(self, url: str, timeout: float) -> None:
        patience = {"SOCKET_TIMEOUT": timeout, "SOCKET_CONNECT_TIMEOUT": timeout}
        pool = {"retry": Retry(NoBackoff(), 0), "max_connections": CONNECTIONS, "timeout": timeout}
        kind = "redis.asyncio.BlockingConnectionPool"
        super().__init__(url, {**patience, "CONNECTION_POOL_CLASS": kind, "CONNECTION_POOL_KWARGS": pool})

    async def forget(self, name: str) -> None:
        await cast("redis.asyncio.Redis", self._backend.get_client()).delete(name)

    async def close(self) -> None:
        await cast("redis.asyncio.Redis", self._backend.get_client()).aclose(close_connection_pool=True)


class Share:
    """What this process has of a key's tokens, and what it knows of its bucket."""

    def __init__(self, key_id: str, rate: str, store: Store, prefix: str) -> None:
        self.quota, self.window = map(int, rate.split("/"))
        self.task: asyncio.Task[None] | None = None  # that fills it
        self._key = key_id
        self._store = store
        self._name = f"{prefix}rate:v1:gcra:{key_id}"
        self._bucket = Throttled(
            using="gcra",
            quota=per_duration(timedelta(seconds=self.window), limit=self.quota),
            store=store,
            key_prefix=prefix + "rate",
        )
        # Ten takes a second are enough for any rate; of a small one nobody may hold what another process could grant
        self._most = max(1, self.quota // 20, self.quota // (10 * self.window))
        self._size = 1  # of a handful
        self._taken, self._tokens = 0, 0
        self._left = self.quota  # in the bucket
        self._asked = self._empty_until = monotonic()

    def spend(self, now: float) -> Verdict | None:
        """None if the bucket has to be asked."""
        if self._tokens and now < self._asked + STALE:
            self._tokens -= 1
            return self._verdict(True, 0)
        if now < self._empty_until:
            return self._verdict(False, math.ceil(self._empty_until - now))
        return None

    @property
    def is_low(self) -> bool:
        """Whether to fill it now, though there are tokens yet."""
        return self._size >= MANY and self._tokens <= self._size // 2 and monotonic() >= self._empty_until

    async def fill(self) -> None:
        """Raises what the store raises."""
        size = self._next_size()
        if monotonic() >= self._asked + STALE:
            self._tokens = 0
        result = await self._bucket.limit(self._key, size)
        if result.state.reset_after > self.window + CLOCK_TOLERANCE:  # Redis's clock was set back: this is no time of ours
            await self._store.forget(self._name)
            result = await self._bucket.limit(self._key, size)
        state, self._asked = result.state, monotonic()
        granted = 0 if result.limited else size
        self._taken = self._tokens = self._tokens + granted
        self._left = max(0, state.remaining)
        if not self._left or 0 < granted < self._size:  # that was all there was, but for what has come in since
            next_token = state.reset_after - (self.quota - 1) * self.window / self.quota
            self._empty_until = self._asked + max(PACE, next_token)

    def _next_size(self) -> int:
        """As many as the last handful shows to be used while one should last, growing twofold at most, if the bucket has them."""
        passed = max(monotonic() - self._asked, 1e-6)
        if self._taken:
            used = self._taken - self._tokens
            self._size = max(1, min(self._most, 2 * self._size, math.ceil(used * LASTING / passed)))
        return max(1, min(self._size, int(self._left + passed * self.quota / self.window)))

    def _verdict(self, allowed: bool, retry_after: int) -> Verdict:
        remaining = self._left + self._tokens if allowed else 0
        reset = -(-(self.quota - remaining) * self.window // self.quota)
        return Verdict(allowed, self.quota, self.window, remaining, reset, retry_after)


class Rates:
    """To be used on one event loop. Exact over all processes: together they never grant more than the bucket gave."""

    def __init__(self, redis_url: str, prefix: str, timeout: float) -> None:
        self._store = Store(redis_url, timeout)
        self._prefix = prefix
        self._timeout = timeout
        self._shares: dict[str, Share] = {}
        self._away_until = 0.0

    async def take(self, key_id: str, rate: str) -> Verdict:
        """Whether one more request with this key may be served. ``rate`` as in Key, not empty. Raises RatesUnavailable."""
        share = self._shares.get(key_id)
        if share is None:
            share = self._shares[key_id] = Share(key_id, rate, self._store, self._prefix)
        verdict = share.spend(now := monotonic())
        if share.is_low and now >= self._away_until:
            self._start_filling(share)
        return verdict or await self._ask(share)

    async def close(self) -> None:
        await self._store.close()

    async def _ask(self, share: Share) -> Verdict:
        """All who ask at once wait for the same answer, none longer than the time-out."""
        until = monotonic() + self._timeout
        while (verdict := share.spend(now := monotonic())) is None:
            if now < self._away_until or now >= until:
                raise RatesUnavailable("Redis does not say how often this key may call")
            await asyncio.wait({self._start_filling(share)}, timeout=until - now)
        return verdict

    def _start_filling(self, share: Share) -> asyncio.Task[None]:
        if share.task is None or share.task.done():
            share.task = asyncio.create_task(self._fill(share))
        return share.task

    async def _fill(self, share: Share) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await share.fill()
        except (BaseThrottledError, redis.RedisError, OSError, TimeoutError):
            self._away_until = monotonic() + AWAY


def headers(verdict: Verdict) -> list[tuple[str, str]]:
    """As draft-ietf-httpapi-ratelimit-headers has them."""
    return [_policy(verdict.quota, verdict.window), ("RateLimit", f'"default";r={verdict.remaining};t={verdict.reset}')]


@lru_cache(1000)
def _policy(quota: int, window: int) -> tuple[str, str]:
    return "RateLimit-Policy", f'"default";q={quota};w={window}'
