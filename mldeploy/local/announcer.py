"""Prints the messages of `up` in a thread, so that a stopped terminal (Ctrl-S), a blocked or closed pipe and a full disk neither
block nor end the service."""

import os
import queue
import sys
import threading

MAX_WAITING_LINES = 1000  # more are dropped
FLUSH_TIMEOUT = 1.0  # seconds for the remaining lines at the end


class Announcer:
    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self._thread = threading.Thread(target=self._write_all, name="announcer", daemon=True)

    def __enter__(self) -> "Announcer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._put(None)
        self._thread.join(FLUSH_TIMEOUT)

    def say(self, text: str) -> None:
        self._put(text)

    def _put(self, line: str | None) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return  # the reader is too slow: drop the line

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            _write(line.encode(errors="backslashreplace") + b"\n")


def _write(line: bytes) -> None:
    """Writes to standard output, or to standard error if that fails; a line that both fail to take is lost."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            while line:
                line = line[os.write(stream.fileno(), line) :]
            return
        except OSError:
            continue
