"""What is shown on standard error while the service is waited for: on a terminal a spinner with how far the job is, and in any
case that the service is away."""

import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME = 0.1
CLEAR = "\r\033[K"  # the line


@contextmanager
def spinner(text: Callable[[], str]) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_spin, args=(text, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _spin(text: Callable[[], str], over: threading.Event) -> None:
    since = time.monotonic()
    for frame in itertools.cycle(FRAMES):
        print(f"{CLEAR}{frame} {text()} {time.monotonic() - since:.1f} s", end="", file=sys.stderr, flush=True)
        if over.wait(FRAME):
            print(CLEAR, end="", file=sys.stderr, flush=True)
            return


@contextmanager
def notices() -> Iterator[None]:
    """The client's log, a line each, where else the spinner is."""
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
