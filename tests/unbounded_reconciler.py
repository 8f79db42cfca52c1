"""``python -m tests.unbounded_reconciler``: a reconciler for which Redis has unlimited room.

A run with it shows what the reservations are for.
"""

from jobs import reconciler
from jobs.memory import MemoryPlan
from settings import Settings

EVERYTHING = 1 << 50


def no_bounds(_: Settings, maxmemory: int) -> MemoryPlan:
    return MemoryPlan(maxmemory, EVERYTHING, EVERYTHING)


if __name__ == "__main__":
    vars(reconciler)["plan_memory"] = no_bounds
    reconciler.main()
