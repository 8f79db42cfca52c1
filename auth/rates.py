"""Rate limits of keys: each key has a token bucket in Redis, from which every process leases tokens to spend.

The bucket is throttled-py's GCRA, which stores only the time at which the bucket is full. Its "token_bucket" counts whole seconds
and loses the remainder with each request: 90 a minute became 55.

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

LEASE_SECONDS = 0.5  # that the tokens of one lease should last; each lease is a write to Redis and a sync to disk
EMPTY_RETRY_INTERVAL = 0.1  # seconds between two requests to an empty bucket
STALE = 1.0  # seconds after which the unspent tokens of a lease are dropped
MIN_EARLY_RENEWAL = 20  # tokens; a lease of this size is renewed when half of it is spent, before a request has to wait
CLOCK_TOLERANCE = 2.0  # seconds
BACKOFF = 0.5  # seconds without requests to Redis after it failed to answer
MAX_CONNECTIONS = 8


class RatesUnavailable(RuntimeError):
    """Redis does not answer, so it is unknown whether the key may make a request."""


class Verdict(NamedTuple):
    """The limit is ``quota`` requests in ``window`` seconds. ``reset``: seconds until the bucket is full."""

    allowed: bool
    quota: int
    window: int
    remaining: int
    reset: int
    retry_after: int  # seconds; 0 if allowed


class Store(RedisStore):
    """The library's store, with a way to close its connections."""

    def __init__(self, url: str, timeout: float) -> None:
        timeouts = {"SOCKET_TIMEOUT": timeout, "SOCKET_CONNECT_TIMEOUT": timeout}
        pool = {"retry": Retry(NoBackoff(), 0), "max_connections": MAX_CONNECTIONS, "timeout": timeout}
        pool_class = "redis.asyncio.BlockingConnectionPool"
        super().__init__(url, {**timeouts, "CONNECTION_POOL_CLASS": pool_class, "CONNECTION_POOL_KWARGS": pool})

    async def delete_key(self, name: str) -> None:
        await cast("redis.asyncio.Redis", self._backend.get_client()).delete(name)

    async def close(self) -> None:
        await cast("redis.asyncio.Redis", self._backend.get_client()).aclose(close_connection_pool=True)


class TokenLease:
    """The tokens of a key that this process has leased, and its knowledge of the key's bucket."""

    def __init__(self, key_id: str, rate: str, store: Store, prefix: str) -> None:
        self.quota, self.window = map(int, rate.split("/"))
        self.task: asyncio.Task[None] | None = None  # the running renewal
        self._key = key_id
        self._store = store
        self._name = f"{prefix}rate:v1:gcra:{key_id}"
        self._bucket = Throttled(
            using="gcra",
            quota=per_duration(timedelta(seconds=self.window), limit=self.quota),
            store=store,
            key_prefix=prefix + "rate",
        )
        # Ten leases a second are enough for any rate; with a low one, no process may hold tokens that another process could grant
        self._max_size = max(1, self.quota // 20, self.quota // (10 * self.window))
        self._size = 1  # tokens of a lease
        self._leased, self._tokens = 0, 0  # with the last lease; unspent
        self._in_bucket = self.quota
        self._renewed_at = self._empty_until = monotonic()

    def spend(self, now: float) -> Verdict | None:
        """Spend a token. Returns None if the lease must be renewed first."""
        if self._tokens and now < self._renewed_at + STALE:
            self._tokens -= 1
            return self._verdict(True, 0)
        if now < self._empty_until:
            return self._verdict(False, math.ceil(self._empty_until - now))
        return None

    @property
    def is_low(self) -> bool:
        """Whether to renew the lease now, although it still has tokens."""
        return self._size >= MIN_EARLY_RENEWAL and self._tokens <= self._size // 2 and monotonic() >= self._empty_until

    async def renew(self) -> None:
        """Lease tokens from the bucket. Raises the store's errors."""
        size = self._next_size()
        if monotonic() >= self._renewed_at + STALE:
            self._tokens = 0
        result = await self._bucket.limit(self._key, size)
        if result.state.reset_after > self.window + CLOCK_TOLERANCE:  # Redis's clock was set back
            await self._store.delete_key(self._name)
            result = await self._bucket.limit(self._key, size)
        state, self._renewed_at = result.state, monotonic()
        granted = 0 if result.limited else size
        self._leased = self._tokens = self._tokens + granted
        self._in_bucket = max(0, state.remaining)
        if not self._in_bucket or 0 < granted < self._size:  # the bucket is empty
            next_token = state.reset_after - (self.quota - 1) * self.window / self.quota
            self._empty_until = self._renewed_at + max(EMPTY_RETRY_INTERVAL, next_token)

    def _next_size(self) -> int:
        """As many tokens as will be spent in LEASE_SECONDS at the rate of the last lease; at most twice its size, and at most
        what the bucket has."""
        elapsed = max(monotonic() - self._renewed_at, 1e-6)
        if self._leased:
            spent = self._leased - self._tokens
            self._size = max(1, min(self._max_size, 2 * self._size, math.ceil(spent * LEASE_SECONDS / elapsed)))
        return max(1, min(self._size, int(self._in_bucket + elapsed * self.quota / self.window)))

    def _verdict(self, allowed: bool, retry_after: int) -> Verdict:
        remaining = self._in_bucket + self._tokens if allowed else 0
        reset = -(-(self.quota - remaining) * self.window // self.quota)
        return Verdict(allowed, self.quota, self.window, remaining, reset, retry_after)


class Rates:
    """To be used on one event loop. Limits are exact over all processes: together they never grant more than the bucket has."""

    def __init__(self, redis_url: str, prefix: str, timeout: float) -> None:
        self._store = Store(redis_url, timeout)
        self._prefix = prefix
        self._timeout = timeout
        self._leases: dict[str, TokenLease] = {}
        self._backoff_until = 0.0

    async def take(self, key_id: str, rate: str) -> Verdict:
        """Spend a token for one request with this key. ``rate``: as in Key, not empty. Raises RatesUnavailable."""
        lease = self._leases.get(key_id)
        if lease is None:
            lease = self._leases[key_id] = TokenLease(key_id, rate, self._store, self._prefix)
        verdict = lease.spend(now := monotonic())
        if lease.is_low and now >= self._backoff_until:
            self._start_renewal(lease)
        return verdict or await self._wait(lease)

    async def close(self) -> None:
        await self._store.close()

    async def _wait(self, lease: TokenLease) -> Verdict:
        """Concurrent requests wait for the same renewal, and no longer than the time-out."""
        deadline = monotonic() + self._timeout
        while (verdict := lease.spend(now := monotonic())) is None:
            if now < self._backoff_until or now >= deadline:
                raise RatesUnavailable("Redis does not say how often this key may call")
            await asyncio.wait({self._start_renewal(lease)}, timeout=deadline - now)
        return verdict

    def _start_renewal(self, lease: TokenLease) -> asyncio.Task[None]:
        if lease.task is None or lease.task.done():
            lease.task = asyncio.create_task(self._renew(lease))
        return lease.task

    async def _renew(self, lease: TokenLease) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await lease.renew()
        except (BaseThrottledError, redis.RedisError, OSError, TimeoutError):
            self._backoff_until = monotonic() + BACKOFF


def headers(verdict: Verdict) -> list[tuple[str, str]]:
    """The header fields of draft-ietf-httpapi-ratelimit-headers."""
    return [_policy(verdict.quota, verdict.window), ("RateLimit", f'"default";r={verdict.remaining};t={verdict.reset}')]


@lru_cache(1000)
def _policy(quota: int, window: int) -> tuple[str, str]:
    return "RateLimit-Policy", f'"default";q={quota};w={window}'
