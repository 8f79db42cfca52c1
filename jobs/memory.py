"""How much of Redis's memory jobs may use: derived from its ``maxmemory``, so that every accepted job can end."""

from msgspec import Struct

from jobs.errors import UnsafeRedis
from settings import Settings

MIN_MAXMEMORY = 32_000_000  # bytes
MAX_JOB_DIVISOR = 32  # a job and its result take at most 1/32 of maxmemory, as several are in flight at once


class MemoryPlan(Struct, frozen=True):
    """Sizes in bytes. ``room``: for jobs, results, models and all other stored data; the rest is for data in flight. ``largest``:
    the limit for one job with its largest possible result."""

    maxmemory: int
    room: int
    largest: int


def plan_memory(settings: Settings, maxmemory: int) -> MemoryPlan:
    """Plan for a Redis with this ``maxmemory``; if it is 0 (no limit), the setting is the limit. Raises UnsafeRedis if the limit
    is too small, or if settings exceed it."""
    limit = maxmemory or settings.maxmemory
    if limit < MIN_MAXMEMORY:
        raise UnsafeRedis(
            f"Redis has maxmemory {limit:,}, and mldeploy needs {MIN_MAXMEMORY:,} bytes or more: raise MLDEPLOY_MAXMEMORY, or "
            "maxmemory of a Redis of yours"
        )
    plan = share_out(settings, limit)
    for name in ("keep_bytes", "lane_bytes"):
        size = getattr(settings, name)
        if size > plan.room:
            raise UnsafeRedis(
                f"MLDEPLOY_{name.upper()} is {size:,} bytes, and of Redis's maxmemory of {limit:,} jobs may take "
                f"{plan.room:,}: lower the one, raise the other, or leave it out to have it derived"
            )
    return plan


def share_out(settings: Settings, limit: int) -> MemoryPlan:
    """Plan without checking that the limit is large enough."""
    return MemoryPlan(limit, int(limit * settings.memory_share), limit // MAX_JOB_DIVISOR)
