"""The output on standard error while a command waits: on a terminal the job and how far it is, on lines that are redrawn and then
removed, and everywhere the notices of the client, such as that the service is away."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from mldeploy.cli.console import printable, stderr_console
from mldeploy.client import Job

MAX_WIDTH = 80  # columns; on a wider terminal the bar would be too far from its numbers
REDRAWS = 10.0  # a second


@contextmanager
def job_shown(job: Job) -> Iterator[None]:
    """Shows the job until the block ends, if standard error is a terminal and there is something to wait for."""
    console = stderr_console()
    if job.done or not console.is_terminal:
        yield
        return
    # What is printed to standard output meanwhile may go elsewhere: rich would redirect it to the terminal.
    with Live(
        _JobView(job),
        console=console,
        refresh_per_second=REDRAWS,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


class _JobView:
    """A line with the job and the seconds since the command began to wait, and below it a bar once the job reports progress."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._state = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            TimeElapsedColumn(),
            console=stderr_console(),
        )
        self._line = self._state.add_task("", total=None)
        self._steps = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _PaceColumn(table_column=Column(no_wrap=True)),
            console=stderr_console(),
            expand=True,
        )
        self._stage = self._steps.add_task("")

    def __rich__(self) -> RenderableType:
        self._state.update(self._line, description=printable(_describe(self._job)).plain)
        progress = self._job.progress
        if not progress or self._job.canceling:
            return self._state
        self._update_steps(printable(str(progress["stage"])).plain, progress["done"], progress["total"])
        return Group(self._state, Constrain(self._steps, MAX_WIDTH))

    def _update_steps(self, stage: str, done: int, total: int) -> None:
        task = self._steps.tasks[0]
        if (task.description, task.total) != (stage, total):  # the pace of one stage says nothing of the next
            self._steps.reset(self._stage, description=stage, total=total, completed=done)
        elif done != task.completed:
            self._steps.update(self._stage, completed=done)


class _PaceColumn(ProgressColumn):
    """How many steps a second, and the time left at this pace; nothing until two reports have shown it."""

    def render(self, task: Task) -> Text:
        if not task.speed or task.time_remaining is None:
            return Text()
        minutes, seconds = divmod(int(task.time_remaining), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        return Text(f"{task.speed:.1f} steps/s {left}")


def _describe(job: Job) -> str:
    """The job with its position in the queue."""
    if job.canceling:
        return f"job {job.id} is being stopped"
    if job.position:
        return f"job {job.id} {job.status}, " + (f"{job.position - 1} before it" if job.position > 1 else "next in line")
    return f"job {job.id} {job.status}"


@contextmanager
def notices() -> Iterator[None]:
    """Shows the client's log on standard error, a line for each record, above what is live there."""
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
        stderr_console().print(printable(record.getMessage()), soft_wrap=True)
