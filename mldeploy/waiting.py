"""A spinner on the terminal while a job is awaited, with how far it is; nothing when the output is piped."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME = 0.1


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
        print(f"\r\033[K{frame} {text()} {time.monotonic() - since:.1f} s", end="", file=sys.stderr, flush=True)
        if over.wait(FRAME):
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            return
