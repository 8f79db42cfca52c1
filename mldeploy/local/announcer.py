"""What `up` says, a line each on standard output, by a thread of its own: a terminal that is stopped (Ctrl-S), a pipe that nobody
reads, or that is closed, and a full disk hold nobody up and end nothing."""

import os
import queue
import sys
import threading

MAX_WAITING_LINES = 1000  # more are dropped
FLUSH_TIMEOUT = 1.0  # seconds for what has not been written at the end


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
            return  # nobody has read the last thousand

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            _write(line.encode(errors="backslashreplace") + b"\n")


def _write(line: bytes) -> None:
    """On standard output, or on standard error if that cannot take it; a line that neither takes is lost."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            while line:
                line = line[os.write(stream.fileno(), line) :]
            return
        except OSError:
            continue
