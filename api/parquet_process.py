"""Reads Parquet files of measurements in a separate process: see modeler/parquet_reader.py."""

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

READ_TIMEOUT = 15.0  # seconds; the process ends itself after 5 seconds of CPU
MAX_WAITING = 4  # files, including the one being read; each holds a write slot meanwhile
MAX_WAITING_PER_CALLER = 2  # of them from one key
FATAL_SIGNALS = (signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)


class BadParquet(ValueError):
    """The file cannot be used; the message gives the reason."""


class TooManyFiles(Exception):
    """The file cannot be read now: too many are being read, or the machine is busy."""


class ParquetProcess:
    """Reads one file at a time. All methods must be called on the same event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._lock = asyncio.Lock()
        self._waiting: Counter[str] = Counter()  # by caller

    async def columns(self, body: bytes, max_rows: int, caller: str) -> Columns:
        """The values of each column. Raises BadParquet, TooManyRows or TooManyFiles."""
        if self._waiting.total() >= MAX_WAITING or (caller and self._waiting[caller] >= MAX_WAITING_PER_CALLER):
            raise TooManyFiles("Too many Parquet files are being read already; send it again.")
        self._waiting[caller] += 1
        try:
            async with self._lock:
                return await asyncio.get_running_loop().run_in_executor(self._threads, _columns, body, max_rows)
        finally:
            self._waiting -= Counter((caller,))


def _columns(body: bytes, max_rows: int) -> Columns:
    if not body.strip():
        raise BadParquet("the body is empty: send a file")
    command = [sys.executable, "-P", "-m", "modeler.parquet_reader", str(max_rows)]
    try:
        process = subprocess.run(command, input=body, capture_output=True, timeout=READ_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise TooManyFiles("The Parquet file could not be read in time; send it again.") from None
    if -process.returncode in FATAL_SIGNALS:
        raise BadParquet("the Parquet file takes too long, or too much, to unpack")
    if process.returncode < 0:
        log.warning("the process that read a Parquet file was ended by signal %d", -process.returncode)
        raise TooManyFiles("The Parquet file could not be read; send it again.")
    if process.returncode:
        raise RuntimeError(f"the Parquet reader failed: {process.stderr.decode(errors='replace')[-2000:]}")
    unpacked = msgspec.json.decode(process.stdout, type=Unpacked)
    if unpacked.bad:
        raise BadParquet(unpacked.bad)
    if unpacked.too_many:
        raise TooManyRows(unpacked.too_many)
    return unpacked.columns
