"""What every command shares: how a job and an answer are shown, and how errors are told."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import requests

from mldeploy.client import Client, Job, JobFailed, Problem
from mldeploy.stack.redis_server import NoRedis
from mldeploy.stack.up import CannotStart
from mldeploy.waiting import spinner
from settings import BadSettings, load

POLL = 2.0  # seconds between looks at how far a job is
BAR = 20  # characters

url_option = click.option("--url", default="", help="Where the service is.  [default: MLDEPLOY_URL, or http://127.0.0.1:5000]")
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the result, or print the job.")
timeout_option = click.option("--timeout", type=click.FloatRange(min=0), help="Give up waiting after so many seconds.")


def client(url: str) -> Client:
    return Client(url or load().url)


def show(job: Job, wait: bool, timeout: float | None) -> None:
    """The job on standard output. The exit status is 1 if it failed, 2 if it was not waited for to the end, 130 on Ctrl-C."""
    goes_on = f"the job goes on: `mldeploy result {job.id}` reads it, `mldeploy cancel {job.id}` takes it back while it is queued"
    try:
        if wait:
            with spinner(lambda: _how_far(job)):
                job.wait(timeout, poll=POLL)
    except KeyboardInterrupt:
        _end(goes_on, 130)
    except TimeoutError as error:
        _end(f"{error}; {goes_on}", 2)
    except JobFailed:
        pass  # its answer says why, below
    tell(job.answer)
    if sys.stdout.isatty() and isinstance(job.result, dict) and "promoted" in job.result:
        version, serves = job.result["model"]["version"], "serves" if job.result["promoted"] else "does not serve"
        click.echo(f"version {version} {serves}: {job.result['reason']}", err=True)
    if job.done and job.status != "succeeded":
        _end(f"Error: {JobFailed(job)}", 1)


def _how_far(job: Job) -> str:
    """The job with its stage and, where there is a total, a bar."""
    at = job.progress
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


@contextmanager
def told() -> Iterator[None]:
    """Errors that a person can do something about, as one message and exit status 1."""
    try:
        yield
    except requests.ConnectionError as error:
        address = error.request.url if error.request and error.request.url else "that address"
        place = "/".join(str(address).split("/")[:3])
        raise click.ClickException(
            f"no service answers at {place}: start one with `mldeploy up`, or say where it is with --url or MLDEPLOY_URL"
        ) from None
    except (Problem, BadSettings, CannotStart, NoRedis, OSError, TypeError, ValueError) as error:  # requests' own are among them
        raise click.ClickException(str(error)) from None
