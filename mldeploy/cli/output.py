"""What every command shares: how a job and an answer are shown, and how errors are told."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import requests

from mldeploy.cli.connection import current_place
from mldeploy.client import Job, JobFailed, Problem, Unavailable
from mldeploy.client.outage import reason
from mldeploy.local.server_choice import NoRedis
from mldeploy.local.up import CannotStart
from mldeploy.waiting import spinner
from settings import BadSettings

POLL = 2.0  # seconds between looks at how far a job is
BAR = 20  # characters


def show(job: Job, wait: bool, timeout: float | None) -> None:
    """The job on standard output, at its end or as it is."""
    if wait:
        with waited(job):
            job.wait(timeout, poll=POLL, retry_for=current_place().retry_wait_for)
    tell(job.answer)
    tell_end(job)


def follow(job: Job) -> None:
    """Each event on standard output as it comes, one line each; on a terminal the job at its end."""
    piped = not sys.stdout.isatty()
    with waited(job):
        for event in job.events(current_place().retry_wait_for):
            if piped:
                tell({"event": event.name, "id": event.id, "data": event.data})
    if not piped:
        tell(job.answer)
    tell_end(job)


@contextmanager
def waited(job: Job) -> Iterator[None]:
    """How far the job is, while it is waited for. The exit status is 2 if that was not to the end, 130 on Ctrl-C."""
    goes_on = (
        f"the job goes on: `mldeploy watch {job.id}` follows it, `mldeploy result {job.id}` reads it, "
        f"`mldeploy cancel {job.id}` stops it"
    )
    try:
        with spinner(lambda: _how_far(job)):
            yield
    except KeyboardInterrupt:
        _end(goes_on, 130)
    except TimeoutError as error:
        _end(f"{error}; {goes_on}", 2)
    except JobFailed:
        pass  # its answer says why


def tell_end(job: Job) -> None:
    """What a person wants to know of a job that has ended. The exit status is 1 if it did without a result."""
    if sys.stdout.isatty() and isinstance(job.result, dict) and "promoted" in job.result:
        version, serves = job.result["model"]["version"], "serves" if job.result["promoted"] else "does not serve"
        click.echo(f"version {version} {serves}: {job.result['reason']}", err=True)
    if job.done and job.status != "succeeded":
        _end(f"Error: {JobFailed(job)}", 1)


def _how_far(job: Job) -> str:
    """The job with its place in the line, or its stage and, where there is a total, a bar."""
    at = job.progress
    if job.canceling:
        return f"job {job.id} is being stopped"
    if job.position:
        return f"job {job.id} {job.status}, " + (f"{job.position - 1} before it" if job.position > 1 else "the next")
    if not at:
        return f"job {job.id} {job.status}"
    filled = BAR * at["done"] // max(1, at["total"])
    return f"job {job.id} {'█' * filled}{'░' * (BAR - filled)} {at['stage']} {at['done']}/{at['total']}"


def _end(text: str, status: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(status)


def tell(answer: Any) -> None:
    """Laid out for a person on a terminal, one line for a pipe."""
    click.echo(json.dumps(answer, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


class Away(click.ClickException):
    """The service did not answer, or not yet: the same command may well succeed a little later."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Errors that a person can do something about, as one message and exit status 1; 2 if the service is away or busy."""
    try:
        yield
    except BrokenPipeError:
        raise  # of our own output: see mldeploy.closed_pipe
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
    except (Problem, BadSettings, CannotStart, NoRedis, OSError, TypeError, ValueError) as error:  # requests' own are among them
        raise click.ClickException(str(error)) from None
