"""The log of a process of the service: the process writes it, and `up` rotates it by size and number.

The process has the file's descriptor, in append mode. So its last lines are written even if `up` dies, and a frozen `up` does not
block it, as a pipe would. A rotation therefore copies the file and truncates it in place; lines that are written between the two
are lost.
"""

import errno
import os
import shutil
from pathlib import Path

CHUNK_BYTES = 1_000_000  # bytes copied at a time
TAIL_BYTES = 65_536  # bytes that stay in a log that cannot be kept, and that are searched for its last lines
MAX_COPIED = 2  # times the limit, of a log that has outgrown it, for instance while `up` was frozen
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class LogFile:
    """``max_bytes``: the size at which it is rotated. ``kept``: the number of older logs, ``<path>.1`` (the newest) and so on."""

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._descriptor: int | None = None

    def open(self) -> int:
        """The descriptor to write to. Raises OSError."""
        self._close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._remove_beyond(self._kept)
        return self._descriptor

    def rotate(self) -> bool:
        """Rotates a log that is too large; returns whether it was. Raises OSError if it could not be kept: then
        only its end is left."""
        if self._descriptor is None or os.fstat(self._descriptor).st_size <= self._max_bytes:
            return False
        try:
            self._keep()
        except OSError:
            end = self._read_end()
            os.truncate(self._descriptor, 0)
            os.write(self._descriptor, end)
            raise
        return True

    def last_lines(self, lines: int = 15) -> str:
        if self._descriptor is None:
            return "(it has no log)"
        return "\n".join(self._read_end().decode(errors="replace").splitlines()[-lines:])

    def _keep(self) -> None:
        self._remove_beyond(self._kept - 1)
        for number in range(self._kept - 1, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).rename(self._numbered(number + 1))
        while self._kept:
            try:
                self._move(self._numbered(1))
                return
            except OSError as error:
                self._numbered(1).unlink(missing_ok=True)
                if error.errno not in NO_ROOM or not self._remove_oldest():
                    raise
        assert self._descriptor is not None
        os.truncate(self._descriptor, 0)

    def _move(self, target: Path) -> None:
        """Copies the log to ``target`` and truncates it. Only the end of a log that has far outgrown its limit is copied. Raises
        OSError if the copy would nearly fill the disk, because the queue needs that space."""
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        at = max(0, size - MAX_COPIED * self._max_bytes)
        end = size + self._max_bytes  # in case the process writes faster than this copies
        if shutil.disk_usage(target.parent).free < end - at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while chunk := os.pread(self._descriptor, min(CHUNK_BYTES, end - at), at):
                at += os.write(out, chunk)
            os.truncate(self._descriptor, 0)
        finally:
            os.close(out)

    def _read_end(self) -> bytes:
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        length = min(TAIL_BYTES, self._max_bytes // 2)
        return os.pread(self._descriptor, length, max(0, size - length))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _numbers(self) -> list[int]:
        """The numbers of the existing older logs."""
        suffixes = (other.name.removeprefix(f"{self.path.name}.") for other in self.path.parent.glob(f"{self.path.name}.*"))
        return sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())

    def _remove_beyond(self, kept: int) -> None:
        for number in self._numbers():
            if number > kept:
                self._numbered(number).unlink(missing_ok=True)

    def _remove_oldest(self) -> bool:
        numbers = self._numbers()
        if numbers:
            self._numbered(numbers[-1]).unlink(missing_ok=True)
        return bool(numbers)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
