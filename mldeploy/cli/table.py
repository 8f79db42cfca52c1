"""Tables without borders, which fit the terminal."""

import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from mldeploy.cli.console import printable, stdout_console

NARROW = 80  # columns


class Column(NamedTuple):
    """``from_width``: the width that a terminal must have for this column to be shown. ``whole``: its texts are not
    broken in two unless the terminal is narrow, so that they can be copied."""

    heading: str
    from_width: int = 0
    whole: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    console = stdout_console()
    console.print(_make_table(columns, rows, console.width))


def table_lines(columns: Sequence[Column], rows: Iterable[Sequence[Any]], width: int) -> list[str]:
    """The lines of a table as plain text."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(_make_table(columns, rows, width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _make_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], width: int) -> Table:
    """Text that is too long for its column goes on in the next line, except in whole columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [index for index, column in enumerate(columns) if width >= column.from_width]
    for index in shown:
        whole = columns[index].whole and width >= NARROW
        table.add_column(printable(columns[index].heading), overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(printable("" if row[index] is None else str(row[index])) for index in shown))
    return table
