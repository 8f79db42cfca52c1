"""Makes standard output and standard error rich's consoles, and untrusted text safe to print."""

import functools
import sys

from rich.console import Console
from rich.text import Text

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for mldeploy.closed_pipe; rich would exit with 1, which means that a job has failed


def stdout_console() -> Console:
    return _make_console(stderr=False)


@functools.cache
def stderr_console() -> Console:
    """The same at each call: it prints what comes while a line is live above that line."""
    return _make_console(stderr=True)


def printable(text: str) -> Text:
    """The text as it is, without markup, and with no character that moves the cursor or turns the direction of the line."""
    return Text("".join(each if each.isprintable() else UNPRINTABLE for each in text))


def _make_console(stderr: bool) -> Console:
    """FORCE_COLOR and TTY_COMPATIBLE, which rich reads, make no terminal of a pipe."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return _Console(stderr=stderr, force_terminal=is_terminal, markup=False, emoji=False, highlight=False)
