"""Shows on a terminal how much of a large table has been sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from mldeploy.cli.console import stderr_console

MIN_BYTES = 1_000_000  # a smaller table is sent before anybody could read the bar


@contextmanager
def uploads_shown() -> Iterator[Callable[[int, int], None] | None]:
    """The client's callback, or None if standard error is no terminal."""
    if not stderr_console().is_terminal:
        yield None
        return
    upload = _Upload()
    try:
        yield upload
    finally:
        upload.end()


class _Upload:
    """A bar from the first bytes of a table to the last ones, and again each time the table is resent."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __call__(self, sent: int, total: int) -> None:
        if total < MIN_BYTES:
            return
        if sent == 0 or self._bar is None:
            self._begin(total)
        else:
            self._bar.update(self._bar.task_ids[0], completed=sent)
        if sent >= total:
            self.end()

    def end(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar = None

    def _begin(self, total: int) -> None:
        self.end()
        self._bar = Progress(
            SpinnerColumn(),
            "sending",
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            *(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
            console=stderr_console(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        self._bar.add_task("", total=total)
        self._bar.start()
