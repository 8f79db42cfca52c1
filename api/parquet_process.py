"""Parquet files of measurements, unpacked by a process of their own: see modeler/parquet_reader.py."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import msgspec

from models.input_errors import TooManyRows
from models.parquet_rows import Exact, Unpacked

log = logging.getLogger("mldeploy.api")

Columns = dict[str, list[Exact]]

PATIENCE = 15.0  # seconds; it ends itself after 5 of CPU
MAX_WAITING = 4  # each keeps its turn meanwhile …
MAX_OF_ONE = 2  # … and these of one key
AT_FAULT = (signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)


class BadParquet(ValueError):
    """The file cannot be used; the message says why."""


class TooManyFiles(Exception):
    """This one cannot be read now: as many as may be are being read, or the machine is busy."""


class Unpacking:
    """One at a time. To be used on one event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._one = asyncio.Lock()
        self._waiting: Counter[str] = Counter()  # by caller

    async def columns(self, body: bytes, most_rows: int, caller: str) -> Columns:
        """Raises BadParquet, TooManyRows or TooManyFiles."""
        if self._waiting.total() >= MAX_WAITING or (caller and self._waiting[caller] >= MAX_OF_ONE):
            raise TooManyFiles("Too many Parquet files are being read already; send it again.")
        self._waiting[caller] += 1
        try:
            async with self._one:
                return await asyncio.get_running_loop().run_in_executor(self._threads, _columns, body, most_rows)
        finally:
            self._waiting -= Counter((caller,))


def _columns(body: bytes, most_rows: int) -> Columns:
    if not body.strip():
        raise BadParquet("the body is empty: send a file")
    command = [sys.executable, "-P", "-m", "modeler.parquet_reader", str(most_rows)]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise TooManyFiles("The Parquet file could not be read in time; send it again.") from None
    if -done.returncode in AT_FAULT:
        raise BadParquet("the Parquet file takes too long, or too much, to unpack")
    if done.returncode < 0:
        log.warning("the process that read a Parquet file was ended by signal %d", -done.returncode)
        raise TooManyFiles("The Parquet file could not be read; send it again.")
    if done.returncode:
        raise RuntimeError(f"the Parquet reader failed: {done.stderr.decode(errors='replace')[-2000:]}")
    told = msgspec.json.decode(done.stdout, type=Unpacked)
    if told.bad:
        raise BadParquet(told.bad)
    if told.too_many:
        raise TooManyRows(told.too_many)
    return told.columns
