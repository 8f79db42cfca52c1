"""Runs the command line in tests as a process, piped or on a terminal."""

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.processes import ROOT, until
from tests.service import Service

TIMEOUT = 120.0  # seconds
LINES = 24  # of a terminal
TERMINAL_VARIABLES = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}


def mldeploy(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mldeploy", *arguments]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=stdin, timeout=TIMEOUT, check=False, env=env)


def on_a_terminal(
    *arguments: str,
    shown: Callable[[str], object] = lambda _: None,
    columns: int = 120,
    stdout: int | None = None,
    **environment: str,
) -> tuple[int, str]:
    """Return the exit status and the output. ``shown`` is called with the output so far each time that more arrives. With
    ``stdout``, a file descriptor, only standard error is the terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (LINES, columns))
    command = [sys.executable, "-m", "mldeploy", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in TERMINAL_VARIABLES}
    env = inherited | {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=stdout or theirs, stderr=theirs, env=env)
    os.close(theirs)
    bound = threading.Timer(TIMEOUT, process.kill)
    bound.start()
    seen = b""
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end of the terminal is closed
            break
        shown(seen.decode(errors="replace"))
    os.close(ours)
    bound.cancel()
    return process.wait(TIMEOUT), seen.decode()


@contextmanager
def nobody_trains(service: Service) -> Iterator[None]:
    """Keep submitted trainings waiting during the block."""
    until(lambda: _settled(service), 20, "those who train are there, and none is being replaced")
    trainers = service.children()["train"].children()
    for process in trainers:
        process.suspend()
    try:
        yield
    finally:
        for process in trainers:
            process.resume()


def _settled(service: Service) -> bool:
    """Return whether each training process has its lease and none is about to be ended for a canceled job."""
    ledger, processes = service.ledger, {process.pid for process in service.children()["train"].children()}
    owners = ledger.live_owners("train")
    stopped = any(ledger.redis.exists(f"{ledger.prefix}stopped:{owner}") for owner in owners)
    return bool(processes) and not stopped and processes == {int(owner.rpartition(":")[2]) for owner in owners}
