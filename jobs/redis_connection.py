"""The connection to the ledger's Redis: with time-outs, without automatic retries, and behind a circuit breaker."""

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import LedgerFull, LedgerUnavailable, UnsafeRedis
from jobs.memory import plan_memory
from settings import Settings

T = TypeVar("T")

UNREACHABLE = (redis.ConnectionError, redis.TimeoutError, OSError)
# Errors of a Redis that cannot serve now
UNABLE = ("READONLY", "NOREPLICAS", "MASTERDOWN", "BUSY", "LOADING", "NOPERM", "No permissions")
REFUSES_TO_WRITE = ("OOM command not allowed", "MISCONF")
OPEN_FOR = 0.5  # seconds that the breaker stays open


def options(settings: Settings) -> dict[str, Any]:
    """Options of a connection that times out after ``redis_timeout``."""
    return {"socket_timeout": settings.redis_timeout, "socket_connect_timeout": settings.redis_timeout}


def connect(settings: Settings) -> redis.Redis:
    """A client that times out after ``redis_timeout`` and never sends a command twice."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout / 2,
        retry=Retry(NoBackoff(), 0),
        **options(settings),
    )
    return redis.Redis(connection_pool=pool)


class Breaker:
    """A circuit breaker: after Redis fails to answer, calls fail at once for OPEN_FOR seconds, so that they do not queue up.

    It admits as many calls at a time as there are connections. A waiting call checks the breaker again once it is admitted: in
    an outage all waiting calls fail after one time-out, and many calls to a healthy Redis do not open the breaker.
    """

    def __init__(self, max_calls: int, timeout: float) -> None:
        self._slots = threading.BoundedSemaphore(max_calls)
        self._timeout = timeout
        self._open_until = 0.0

    def call(self, function: Callable[[], T]) -> T:
        """Raises LedgerUnavailable, or LedgerFull when Redis refuses to write because memory or disk is full."""
        if not self._slots.acquire(timeout=self._timeout):
            raise LedgerUnavailable("too many are asking Redis at once")
        try:
            return self._call(function)
        finally:
            self._slots.release()

    async def acall(self, function: Callable[[], Awaitable[T]]) -> T:
        """As ``call``, on an event loop, and without a limit on concurrent calls."""
        self._check()
        try:
            return await function()
        except (*UNREACHABLE, redis.ResponseError) as error:
            raise self._translate(error) from error

    def _call(self, function: Callable[[], T]) -> T:
        self._check()
        try:
            return function()
        except (*UNREACHABLE, redis.ResponseError) as error:
            raise self._translate(error) from error

    def _check(self) -> None:
        if time.monotonic() < self._open_until:
            raise LedgerUnavailable("Redis did not answer a moment ago")

    def _translate(self, error: Exception) -> Exception:
        """The LedgerError for this error of Redis, or the error itself if there is none."""
        if isinstance(error, UNREACHABLE):
            self._open_until = time.monotonic() + OPEN_FOR
            return LedgerUnavailable(str(error))
        if isinstance(error, redis.OutOfMemoryError) or any(text in str(error) for text in REFUSES_TO_WRITE):
            return LedgerFull(str(error))
        if str(error).startswith(UNABLE) or isinstance(error, redis.ReadOnlyError):
            return LedgerUnavailable(str(error))
        return error


def check_server(client: redis.Redis, settings: Settings) -> None:
    """Raises UnsafeRedis unless this Redis persists what it acknowledges, and has the memory that the settings need."""
    if client.info("cluster").get("cluster_enabled"):
        raise UnsafeRedis("Redis Cluster is not supported: use one Redis (replicas are fine)")
    plan_memory(settings, int(client.info("memory").get("maxmemory", 0)))
    if settings.trust_redis:
        return
    required = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": settings.appendfsync}
    for name, value in required.items():
        found = _config(client, name)
        if found != value and not (name == "appendfsync" and found == "always"):
            raise UnsafeRedis(
                f"Redis has {name}={found}; mldeploy needs {name} {value} "
                f"(CONFIG SET {name} {value}, and in its configuration file)"
            )


def _config(client: redis.Redis, name: str) -> str:
    """Raises UnsafeRedis."""
    try:
        return str(client.config_get(name).get(name))
    except redis.ResponseError as error:
        raise UnsafeRedis(
            f"this Redis does not show its configuration ({error}): make sure of appendonly yes, appendfsync always and "
            "maxmemory-policy noeviction, then set MLDEPLOY_TRUST_REDIS=true"
        ) from error
