"""Runs the command line in tests as a process, piped or on a terminal."""

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable

from tests.processes import ROOT

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
