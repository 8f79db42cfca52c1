"""What parts of the service record for the health checks: versions that cannot be loaded, and problems outside the ledger.

Each record is a field of a hash, "<ms until which it holds> <text>", and expires; lua/condition.lua reads it.
"""

from typing import cast

from jobs.ledger import Ledger


class HealthNotes:
    """All methods raise LedgerUnavailable."""

    def __init__(self, ledger: Ledger) -> None:
        self._redis = ledger.redis
        self._prefix = ledger.prefix
        self._guard = ledger.guard
        self._now_ms = ledger.now_ms

    def add_unloadable(self, kind: str, group: str, why: str, seconds: float) -> None:
        """A worker could not load this group's version. The record expires after ``seconds``."""
        self._add(f"unloadable:{kind}", group, why, seconds)

    def remove_unloadable(self, kind: str, group: str) -> None:
        """A worker that still cannot load the version records it again."""
        self._remove(f"unloadable:{kind}", group)

    def add_loadable(self, kind: str, group: str, seconds: float) -> None:
        """A worker has loaded a version that another worker could not."""
        self._add(f"loadable:{kind}", group, "", seconds)

    def unloadable(self, kind: str) -> dict[str, str]:
        """Groups that a worker could not load recently, each with the reason. Deletes expired records."""
        found = cast("dict[bytes, bytes]", self._guard(lambda: self._redis.hgetall(f"{self._prefix}unloadable:{kind}")))
        records = {group.decode(): value.decode().partition(" ") for group, value in found.items()}
        now = self._now_ms()
        expired = [group for group, (until, _, _) in records.items() if int(until) < now]
        if expired:
            self._remove(f"unloadable:{kind}", *expired)
            self._remove(f"loadable:{kind}", *expired)
        return {group: why for group, (_, _, why) in records.items() if group not in expired}

    def add_problem(self, code: str, detail: str, seconds: float) -> None:
        """A problem outside the ledger (see condition.REPORTED). The record expires after ``seconds``."""
        self._add("reports", code, detail, seconds)

    def remove_problem(self, code: str) -> None:
        self._remove("reports", code)

    def _add(self, key: str, field: str, text: str, seconds: float) -> None:
        until = self._now_ms() + int(seconds * 1000)
        self._guard(lambda: self._redis.hset(self._prefix + key, field, f"{until} {text}"))

    def _remove(self, key: str, *fields: str) -> None:
        self._guard(lambda: self._redis.hdel(self._prefix + key, *fields))
