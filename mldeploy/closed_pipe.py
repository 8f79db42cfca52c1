"""Ends a command silently when the reader of its output exits, as in `mldeploy jobs | head`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

STATUS = 128 + signal.SIGPIPE  # as a shell reports a program that was ended by SIGPIPE


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Exits with status 141 when standard output or standard error has no reader any more.

    SIGPIPE stays ignored, because it would also end a command whose connection to the service was lost."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _discard_what_is_left()
        sys.exit(STATUS)


class PipedCommand(click.Command):
    """A command whose output may be piped into a program that does not read it to its end. (Click would exit
    with 1, which means for our commands that a job has failed.)"""

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
    """Redirects closed streams to the null device: the interpreter flushes both at exit, and would report an error."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
