"""The disk that Redis writes to: enough of it stays free that accepted jobs can end and the append-only file can be rewritten."""

import logging
import shutil
import time
from pathlib import Path

from redis.exceptions import ResponseError

from jobs.errors import UnsafeRedis
from jobs.ledger import Ledger
from settings import Settings

log = logging.getLogger("mldeploy.reconciler")

REWRITE_INTERVAL = 60.0  # seconds between two rewrites that are asked for here
WORTHWHILE = 1.5  # times as large as what it would become, the file is rewritten before Redis would do it by itself


class DiskWatch:
    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._reserve = settings.disk_reserve
        self._set = settings.redis_data
        self._folder = Path(settings.redis_data) if settings.redis_data else settings.home_path / "redis"
        self._is_seen = bool(self._set) or settings.redis_url.startswith("unix:")  # a Redis elsewhere does not write to the home
        self._ledger = ledger
        self._next_rewrite = 0.0

    def check(self) -> None:
        """Raises UnsafeRedis."""
        if self._set and not self._folder.is_dir():
            raise UnsafeRedis(
                f"MLDEPLOY_REDIS_DATA is {self._folder}, and there is no such folder here: mount Redis's volume there, "
                "read-only, or leave the setting out, and the disk is not watched"
            )

    def shortage(self, used: int) -> str:
        """Why nothing is to be accepted; empty while there is room, or if Redis's disk cannot be seen from here. ``used``: bytes
        of Redis's memory, which its file takes when it is rewritten. Raises LedgerUnavailable."""
        if not self._is_seen:
            return ""
        try:
            free = shutil.disk_usage(self._folder).free
        except FileNotFoundError:
            return ""
        needed = self._reserve + used + self._ledger.promised()
        if free >= needed:
            return ""
        self._rewrite(used)
        return (
            f"the disk of Redis has {free:,} bytes left, and {needed:,} stay free for what was accepted and for rewriting its "
            "file (MLDEPLOY_DISK_RESERVE and what Redis holds)"
        )

    def _rewrite(self, used: int) -> None:
        """Have the file rewritten if that makes room."""
        if time.monotonic() < self._next_rewrite:
            return
        self._next_rewrite = time.monotonic() + REWRITE_INTERVAL
        client = self._ledger.redis
        found = self._ledger.guard(lambda: client.info("persistence"))
        if found.get("aof_current_size", 0) > WORTHWHILE * used and not found.get("aof_rewrite_in_progress"):
            log.warning("the disk of Redis is nearly full: its file is rewritten")
            try:
                self._ledger.guard(client.bgrewriteaof)
            except ResponseError as error:
                log.warning("Redis could not rewrite its file: %s", error)
