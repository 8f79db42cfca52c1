"""The layout of the demo's output: numbered steps, in lines of at most 100 columns."""

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mldeploy.cli.table import Column, table_lines

COLUMNS = 100
INDENT = "   "
MAX_JSON_LINES = 60  # of one request or response
PIPED_INTERVAL = 5  # seconds between two progress lines where they cannot be overwritten
ERASE_LINE = "\r\033[K"


class Page:
    """Writes with ``write``, which takes text with its line ends.

    A verbose page shows all JSON; one that overwrites is on a terminal."""

    def __init__(self, write: Callable[[str], object], verbose: bool = False, overwrites: bool = False) -> None:
        self._write = write
        self._verbose = verbose
        self._overwrites = overwrites
        self._columns = min(COLUMNS, shutil.get_terminal_size((COLUMNS, 0)).columns) if overwrites else COLUMNS
        self._steps = 0

    def step(self, title: str) -> None:
        self._steps += 1
        self._write(f"\n{self._wrap(f'{self._steps}. {title}', '', INDENT)}\n")

    def line(self, text: str) -> None:
        self._write(f"{self._wrap(text, INDENT, INDENT * 2)}\n")

    def plain(self, text: str) -> None:
        """A line of the service's own output."""
        self._write(f"{self._wrap(text, '', INDENT)}\n")

    def verbatim(self, text: str) -> None:
        """Lines to copy, which must not be wrapped."""
        self._write(f"{text}\n")

    def table(self, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        for line in table_lines([Column(heading) for heading in headings], rows, self._columns - len(INDENT)):
            self._write(f"{INDENT}{line}\n")

    def json(self, mark: str, value: Any) -> None:
        """Shown only if the page is verbose."""
        if not self._verbose:
            return
        lines = msgspec.json.format(msgspec.json.encode(value), indent=2).decode().splitlines()
        prefix = f"{INDENT}{mark} "
        for line in lines[:MAX_JSON_LINES]:
            room = self._columns - len(prefix)
            self._write(f"{prefix}{line if len(line) <= room else f'{line[: room - 1]}…'}\n")
        if len(lines) > MAX_JSON_LINES:
            self._write(f"{prefix}… {len(lines) - MAX_JSON_LINES} more lines\n")

    def waiting(self, what: str) -> "Waiting":
        return Waiting(what, self._write, self._overwrites)

    def _wrap(self, text: str, first: str, further: str) -> str:
        return textwrap.fill(text, self._columns, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)


class Waiting:
    """A line that shows how long the demo has been waiting; ``show`` updates it."""

    def __init__(self, what: str, write: Callable[[str], object], overwrites: bool) -> None:
        self._what = what
        self._write = write
        self._overwrites = overwrites
        self._since = time.monotonic()
        self._next = 1

    def show(self) -> None:
        seconds = int(time.monotonic() - self._since)
        if seconds < self._next:
            return
        text = f"{INDENT}{self._what} … {seconds} s"
        self._write(f"{ERASE_LINE}{text}" if self._overwrites else f"{text}\n")
        self._next = seconds + 1 if self._overwrites else seconds - seconds % PIPED_INTERVAL + PIPED_INTERVAL

    def done(self) -> None:
        """Removes the line, if there is one and it can be overwritten."""
        if self._overwrites and self._next > 1:
            self._write(ERASE_LINE)


def page_on_standard_output(verbose: bool) -> Page:
    def write(text: str) -> None:
        print(text, end="", flush=True)

    return Page(write, verbose, overwrites=sys.stdout.isatty())
