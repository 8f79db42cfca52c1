"""Parquet files of measurements, unpacked by a process of their own: see models/parquet.py."""

import asyncio
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec

from models.faults import TooManyRows
from models.unpacked import Cell, Unpacked

log = logging.getLogger("mldeploy.api")

Columns = dict[str, list[Cell]]

PATIENCE = 15.0  # seconds; it ends itself after 5 of CPU
MOST_WAITING = 4  # each keeps its turn meanwhile


class BadParquet(ValueError):
    """The file cannot be used; the message says why."""


class TooManyFiles(Exception):
    """As many are being read as may be."""


class Unpacking:
    """One at a time. To be used on one event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._one = asyncio.Lock()
        self._waiting = 0

    async def columns(self, body: bytes, most_rows: int) -> Columns:
        """Raises BadParquet, TooManyRows or TooManyFiles."""
        if self._waiting >= MOST_WAITING:
            raise TooManyFiles("Too many Parquet files are being read already; send it again.")
        self._waiting += 1
        try:
            async with self._one:
                return await asyncio.get_running_loop().run_in_executor(self._threads, _columns, body, most_rows)
        finally:
            self._waiting -= 1


def _columns(body: bytes, most_rows: int) -> Columns:
    if not body.strip():
        raise BadParquet("the body is empty: send a file")
    command = [sys.executable, "-P", "-m", "models.parquet", str(most_rows)]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise _beyond_bounds() from None
    if done.returncode < 0:  # ended by a signal, most likely for the time that it took
        log.warning("a Parquet file of %d bytes ended its process by signal %d", len(body), -done.returncode)
        raise _beyond_bounds()
    if done.returncode:
        raise RuntimeError(f"the Parquet reader failed: {done.stderr.decode(errors='replace')[-2000:]}")
    told = msgspec.json.decode(done.stdout, type=Unpacked)
    if told.bad:
        raise BadParquet(told.bad)
    if told.too_many:
        raise TooManyRows(told.too_many)
    return told.columns


def _beyond_bounds() -> BadParquet:
    return BadParquet("the Parquet file takes too long, or too much, to unpack")
