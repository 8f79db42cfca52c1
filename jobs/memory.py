"""How much of Redis's memory jobs may take: derived from its ``maxmemory``, so that what was accepted can always end."""

from msgspec import Struct

from jobs.errors import UnsafeRedis
from settings import Settings

LEAST = 32_000_000  # bytes of maxmemory
LARGEST_SHARE = 32  # a job and its result take this part of maxmemory at most: several are on their way at once


class MemoryPlan(Struct, frozen=True):
    """Bytes. ``room``: for jobs, results, models and all else that is kept; the rest is for what is on its way. ``largest``: one
    job with the largest result that it may have."""

    maxmemory: int
    room: int
    largest: int


def plan_memory(settings: Settings, maxmemory: int) -> MemoryPlan:
    """For a Redis with this ``maxmemory``; 0 is no limit of its own, and then the setting is the limit. Raises UnsafeRedis where
    it is too small, or for settings that do not fit into it."""
    limit = maxmemory or settings.maxmemory
    if limit < LEAST:
        raise UnsafeRedis(
            f"Redis has maxmemory {limit:,}, and mldeploy needs {LEAST:,} bytes or more: raise MLDEPLOY_MAXMEMORY, or maxmemory "
            "of a Redis of yours"
        )
    plan = share_out(settings, limit)
    for name in ("keep_bytes", "lane_bytes"):
        wanted = getattr(settings, name)
        if wanted > plan.room:
            raise UnsafeRedis(
                f"MLDEPLOY_{name.upper()} is {wanted:,} bytes, and of Redis's maxmemory of {limit:,} jobs may take "
                f"{plan.room:,}: lower the one, raise the other, or leave it out to have it derived"
            )
    return plan


def share_out(settings: Settings, limit: int) -> MemoryPlan:
    """Whether or not that is enough."""
    return MemoryPlan(limit, int(limit * settings.memory_share), limit // LARGEST_SHARE)
