"""The output on standard error while a command waits: a spinner with the job's progress on a terminal, and the notices of the
client, such as that the service is away."""

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME_INTERVAL = 0.1  # seconds
CLEAR = "\r\033[K"  # clears the line


@contextmanager
def spinner(text: Callable[[], str]) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_spin, args=(text, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _spin(text: Callable[[], str], stop: threading.Event) -> None:
    started = time.monotonic()
    for frame in itertools.cycle(FRAMES):
        print(f"{CLEAR}{frame} {text()} {time.monotonic() - started:.1f} s", end="", file=sys.stderr, flush=True)
        if stop.wait(FRAME_INTERVAL):
            print(CLEAR, end="", file=sys.stderr, flush=True)
            return


@contextmanager
def notices() -> Iterator[None]:
    """Shows the client's log on standard error, a line for each record, which replaces the spinner's line."""
    log, handler = logging.getLogger("mldeploy.client"), _Notices()
    before = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


class _Notices(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"{CLEAR if sys.stderr.isatty() else ''}{record.getMessage()}", file=sys.stderr, flush=True)
