"""A reader that leaves, as in `mldeploy jobs | head`, ends a command without a word."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

STATUS = 128 + signal.SIGPIPE  # as a shell reports a program that SIGPIPE has ended


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Exit status 141 when nobody reads standard output or standard error any more.

    SIGPIPE stays ignored: it would also end a command whose connection to the service was cut."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _discard_what_is_left()
        sys.exit(STATUS)


class PipedCommand(click.Command):
    """A command whose output may be piped into a program that does not read it to its end. (Click would answer with 1, which
    here says that a job has failed.)"""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with ends_with_its_reader():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with ends_with_its_reader():
            return super().invoke(ctx)


class PipedGroup(PipedCommand, click.Group):
    """A group of such commands."""


def _flush() -> None:
    if sys.stdout:  # None if the shell has closed it
        sys.stdout.flush()


def _discard_what_is_left() -> None:
    """The interpreter flushes both at its end, and would complain."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
