"""The output of all commands: jobs, responses, progress and errors."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

import click
import requests

from mldeploy.cli.connection import current_connection
from mldeploy.cli.layout import format_json
from mldeploy.cli.waiting import job_shown
from mldeploy.client import Job, JobFailed, Problem, Unavailable
from mldeploy.client.outage import reason

POLL_INTERVAL = 2.0  # seconds between two requests for the job's progress


def show(job: Job, wait: bool, timeout: float | None) -> None:
    """Prints the job, at its end or immediately."""
    if wait:
        with progress_shown(job):
            job.wait(timeout, poll=POLL_INTERVAL, retry_for=current_connection().retry_wait_for)
    print_json(job.answer)
    print_outcome(job)


def follow(job: Job) -> None:
    """Prints each event as a line when it arrives, or on a terminal the job at its end. What a pipe's reader prints may reach the
    terminal, so no live lines are drawn beside the events."""
    piped = not sys.stdout.isatty()
    with progress_shown(job, live=not piped):
        for event in job.events(current_connection().retry_wait_for):
            if piped:
                print_json({"event": event.name, "id": event.id, "data": event.data})
    if not piped:
        print_json(job.answer)
    print_outcome(job)


@contextmanager
def progress_shown(job: Job, live: bool = True) -> Iterator[None]:
    """Shows the job's progress, if ``live``, while a command waits for it. Exits with 2 on a time-out, and with 130 on Ctrl-C."""
    goes_on = (
        f"the job goes on: `mldeploy watch {job.id}` follows it, `mldeploy result {job.id}` reads it, "
        f"`mldeploy cancel {job.id}` stops it"
    )
    try:
        with job_shown(job) if live else nullcontext():
            yield
    except KeyboardInterrupt:
        _end(goes_on, 130)
    except TimeoutError as error:
        _end(f"{error}; {goes_on}", 2)
    except JobFailed:
        pass  # the printed job says why


def print_outcome(job: Job) -> None:
    """Prints whether a new version serves. Exits with 1 if the job has ended without a result."""
    if sys.stdout.isatty() and isinstance(job.result, dict) and "promoted" in job.result:
        version, serves = job.result["model"]["version"], "serves" if job.result["promoted"] else "does not serve"
        click.echo(f"version {version} {serves}: {job.result['reason']}", err=True)
    if job.done and job.status != "succeeded":
        _end(f"Error: {JobFailed(job)}", 1)


def _end(text: str, status: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(status)


def print_json(value: Any) -> None:
    """Prints indented JSON on a terminal, and otherwise one line."""
    click.echo(format_json(value, indent=2 if sys.stdout.isatty() else None))


class Away(click.ClickException):
    """The service is not available; the same command may succeed a little later."""

    exit_code = 2


@contextmanager
def errors_reported(*also: type[Exception]) -> Iterator[None]:
    """Reports errors that the user can fix, those of the classes ``also`` among them, as one message, with exit status 1, or 2 if
    the service is away or busy."""
    reported: tuple[type[Exception], ...] = (Problem, OSError, TypeError, ValueError, *also)  # requests' errors are OSErrors
    try:
        yield
    except BrokenPipeError:
        raise  # from our own output: see mldeploy.closed_pipe
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        kind = "TLS" if isinstance(error, requests.exceptions.SSLError) else "the proxy"
        raise click.ClickException(f"{kind} refuses the connection: {error}") from None
    except requests.ConnectionError as error:
        address = error.request.url if error.request and error.request.url else "that address"
        place = "/".join(str(address).split("/")[:3])
        raise Away(
            f"no service answers at {place}: start one with `mldeploy up`, or say where it is with --url or MLDEPLOY_URL"
        ) from None
    except (Unavailable, requests.Timeout) as error:
        raise Away(f"{reason(error)}: try again later, or for longer with --retry-for") from None
    except reported as error:
        raise click.ClickException(str(error)) from None
