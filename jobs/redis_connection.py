"""The connection to the ledger's Redis: bounded in time, never retrying by itself, and behind a breaker."""

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
UNABLE = ("READONLY", "NOREPLICAS", "MASTERDOWN", "BUSY", "LOADING", "NOPERM", "No permissions")  # for now, or until mended
REFUSES_TO_WRITE = ("OOM command not allowed", "MISCONF")
OPEN_FOR = 0.5  # seconds that the breaker stays open


def options(settings: Settings) -> dict[str, Any]:
    """Of a connection that gives up after ``redis_timeout``."""
    return {"socket_timeout": settings.redis_timeout, "socket_connect_timeout": settings.redis_timeout}


def connect(settings: Settings) -> redis.Redis:
    """A client that gives up after ``redis_timeout`` and sends nothing twice."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout / 2,
        retry=Retry(NoBackoff(), 0),
        **options(settings),
    )
    return redis.Redis(connection_pool=pool)


class Breaker:
    """Answers "unavailable" at once for a moment after Redis failed to answer, so that nothing queues up behind it.

    Has a place for each connection. Those who wait for one look again at the breaker when they get it: in an outage all
    are answered after one time-out, and a crowd in front of a Redis that is well opens nothing.
    """

    def __init__(self, places: int, patience: float) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._patience = patience
        self._closed_from = 0.0

    def call(self, function: Callable[[], T]) -> T:
        """Raises LedgerUnavailable, or LedgerFull when Redis refuses to write for want of memory or disk."""
        if not self._places.acquire(timeout=self._patience):
            raise LedgerUnavailable("too many are asking Redis at once")
        try:
            return self._call(function)
        finally:
            self._places.release()

    async def acall(self, function: Callable[[], Awaitable[T]]) -> T:
        """The same on an event loop, whose callers are few."""
        self._check()
        try:
            return await function()
        except (*UNREACHABLE, redis.ResponseError) as error:
            raise self._told(error) from error

    def _call(self, function: Callable[[], T]) -> T:
        self._check()
        try:
            return function()
        except (*UNREACHABLE, redis.ResponseError) as error:
            raise self._told(error) from error

    def _check(self) -> None:
        if time.monotonic() < self._closed_from:
            raise LedgerUnavailable("Redis did not answer a moment ago")

    def _told(self, error: Exception) -> Exception:
        """What the error means to a caller; itself if nothing is known of it."""
        if isinstance(error, UNREACHABLE):
            self._closed_from = time.monotonic() + OPEN_FOR
            return LedgerUnavailable(str(error))
        if isinstance(error, redis.OutOfMemoryError) or any(sign in str(error) for sign in REFUSES_TO_WRITE):
            return LedgerFull(str(error))
        if str(error).startswith(UNABLE) or isinstance(error, redis.ReadOnlyError):
            return LedgerUnavailable(str(error))
        return error


def check_server(client: redis.Redis, settings: Settings) -> None:
    """Raises UnsafeRedis unless this Redis keeps what it has acknowledged, and has the memory that the settings want."""
    if client.info("cluster").get("cluster_enabled"):
        raise UnsafeRedis("Redis Cluster is not supported: use one Redis (replicas are fine)")
    plan_memory(settings, int(client.info("memory").get("maxmemory", 0)))
    if settings.trust_redis:
        return
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": settings.appendfsync}
    for name, value in wanted.items():
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
            f"this Redis does not tell its configuration ({error}): make sure of appendonly yes, appendfsync always and "
            "maxmemory-policy noeviction, then set MLDEPLOY_TRUST_REDIS=true"
        ) from error
