"""Watches the disk that Redis writes to: it must have room for the ends of accepted jobs and for rewriting the append-only
file."""

import logging
import shutil
import time
from pathlib import Path

from redis.exceptions import ResponseError

from jobs.errors import UnsafeRedis
from jobs.ledger import Ledger
from settings import Settings

log = logging.getLogger("mldeploy.reconciler")

REWRITE_INTERVAL = 60.0  # seconds between two rewrites that this module requests
MIN_REWRITE_RATIO = 1.5  # file size to size after the rewrite; Redis itself waits for a larger ratio


class DiskWatch:
    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._reserve = settings.disk_reserve
        self._is_configured = bool(settings.redis_data)
        self._folder = Path(settings.redis_data) if settings.redis_data else settings.home_path / "redis"
        # A remote Redis does not write to the home folder
        self._is_watched = self._is_configured or settings.redis_url.startswith("unix:")
        self._ledger = ledger
        self._next_rewrite = 0.0

    def check(self) -> None:
        """Raises UnsafeRedis."""
        if self._is_configured and not self._folder.is_dir():
            raise UnsafeRedis(
                f"MLDEPLOY_REDIS_DATA is {self._folder}, and there is no such folder here: mount Redis's volume there, "
                "read-only, or leave the setting out, and the disk is not watched"
            )

    def shortage(self, used: int) -> str:
        """Why no jobs may be accepted; empty while there is room, or if this process cannot see Redis's disk. ``used``: bytes of
        Redis's memory, the size of its file after a rewrite. Raises LedgerUnavailable."""
        if not self._is_watched:
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
        """Request a rewrite of the file if that makes room."""
        if time.monotonic() < self._next_rewrite:
            return
        self._next_rewrite = time.monotonic() + REWRITE_INTERVAL
        client = self._ledger.redis
        persistence = self._ledger.guard(lambda: client.info("persistence"))
        if persistence.get("aof_current_size", 0) > MIN_REWRITE_RATIO * used and not persistence.get("aof_rewrite_in_progress"):
            log.warning("the disk of Redis is nearly full: its file is rewritten")
            try:
                self._ledger.guard(client.bgrewriteaof)
            except ResponseError as error:
                log.warning("Redis could not rewrite its file: %s", error)
