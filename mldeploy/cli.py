"""The command line: `mldeploy up|demo|predict|train|result|cancel|models`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import requests

from mldeploy.client import Client, Job, JobFailed, Problem
from mldeploy.stack.redis_server import NoRedis
from mldeploy.stack.up import CannotStart, Up
from mldeploy.waiting import spinner
from settings import BadSettings, Settings, load

ESTIMATORS = "DecisionTreeClassifier, GaussianNB, KNeighborsClassifier, LogisticRegression, RandomForestClassifier"

url_option = click.option("--url", default="", help="Where the service is.  [default: MLDEPLOY_URL, or http://127.0.0.1:5000]")
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the result, or print the job.")
timeout_option = click.option("--timeout", type=click.FloatRange(min=0), help="Give up waiting after so many seconds.")


def place_options(command: Any) -> Any:
    """The options of `up`; each is mirrored by an environment variable MLDEPLOY_<NAME>."""
    for option in reversed(
        [
            click.option("--home", type=click.Path(file_okay=False), help="Jobs, models, logs.  [default: ~/.mldeploy]"),
            click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
            click.option("--port", type=int, help="Port to listen on.  [default: 5000]"),
            click.option("--predict-workers", type=int, help="Processes that predict.  [default: 2]"),
            click.option("--train-workers", type=int, help="Processes that train.  [default: 1]"),
        ]
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mldeploy")
def main() -> None:
    """A scikit-learn model behind a job queue.

    Start with `mldeploy demo`, or `mldeploy up` and then `mldeploy predict '{"sepal_length": 5.0, …}'`.
    """


@main.command()
@place_options
def up(**options: Any) -> None:
    """Run the whole service on this machine, until Ctrl-C.

    Starts a Redis of its own (or uses the one at MLDEPLOY_REDIS_URL), the API, workers and reconciler, and restarts what
    dies. Every option can be given as MLDEPLOY_<NAME> too.
    """
    with _told():
        Up(_settings(options), say=_say).run()


@main.command()
@place_options
@click.option("--once", is_flag=True, help="End after the last step.")
def demo(once: bool, **options: Any) -> None:
    """Train, predict and retrain, every request shown.

    Then the service is left running until Ctrl-C, or with --once ended.
    """
    with _told():
        settings = _settings(options)
    program = [sys.executable, "-m", "mldeploy.demo", *(["--once"] if once else [])]  # apart: it needs scikit-learn, we do not
    os.execve(program[0], program, settings.environment())


@main.command()
@click.argument("measurements")
@click.option("--model", default="", help="The model's name.  [default: the service's own]")
@click.option("--version", default="", help="A number or an alias.  [default: champion]")
@click.option("--proba", is_flag=True, help="Give each class's probability too.")
@url_option
@wait_option
@timeout_option
def predict(measurements: str, model: str, version: str, proba: bool, url: str, wait: bool, timeout: float | None) -> None:
    """Predict MEASUREMENTS: JSON (an object or an array of them), a file that holds it, or - for standard input."""
    with _told():
        rows = _read_json(measurements)
        _show(_client(url).predict(rows, model=model, version=version, proba=proba), wait, timeout)


@main.command()
@click.argument("csv", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", help="The model's name.  [default: the service's own]")
@click.option("--target", default="", help="The column to predict.  [default: the last one]")
@click.option("--estimator", default="", help=f"One of {ESTIMATORS}.  [default: the champion's, or the first of these]")
@click.option("--promote", type=click.Choice(["if_better", "always", "never"]), default="if_better", show_default=True)
@url_option
@wait_option
@timeout_option
def train(csv: Path | None, url: str, wait: bool, timeout: float | None, **options: str) -> None:
    """Train on CSV, or, without one, on the rows that the model has."""
    with _told():
        _show(_client(url).train(csv, **options), wait, timeout)


@main.command()
@click.argument("job_id")
@url_option
@wait_option
@timeout_option
def result(job_id: str, url: str, wait: bool, timeout: float | None) -> None:
    """Show a job, by default when it has ended."""
    with _told():
        _show(_client(url).result(job_id), wait, timeout)


@main.command()
@click.argument("job_id")
@url_option
def cancel(job_id: str, url: str) -> None:
    """Cancel a job that is queued."""
    with _told():
        _print(_client(url).result(job_id).cancel().answer)


@main.command()
@click.argument("name", required=False)
@url_option
def models(name: str | None, url: str) -> None:
    """List the models, or show one: what it takes, its versions, how they were judged."""
    with _told():
        _print(_client(url).model(name) if name else _client(url).models())


def _settings(options: dict[str, Any]) -> Settings:
    return load().replace(**{name: value for name, value in options.items() if value is not None})


def _client(url: str) -> Client:
    return Client(url or load().url)


def _show(job: Job, wait: bool, timeout: float | None) -> None:
    """The job on standard output. The exit status is 1 if it failed, 2 if it was not waited for to the end, 130 on Ctrl-C."""
    goes_on = f"the job goes on: `mldeploy result {job.id}` reads it, `mldeploy cancel {job.id}` takes it back while it is queued"
    try:
        if wait:
            with spinner(f"job {job.id}"):
                job.wait(timeout)
    except KeyboardInterrupt:
        _end(goes_on, 130)
    except TimeoutError as error:
        _end(f"{error}; {goes_on}", 2)
    except JobFailed:
        pass  # its answer says why, below
    _print(job.answer)
    if job.done and job.status != "succeeded":
        _end(f"Error: {JobFailed(job)}", 1)


def _end(text: str, status: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(status)


def _read_json(given: str) -> Any:
    text = sys.stdin.read() if given == "-" else given
    if not text.lstrip().startswith(("{", "[")):
        path = Path(given)
        if not path.is_file():
            raise click.UsageError(f"{given!r} is neither JSON nor a file")
        text = path.read_text(errors="replace")
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"predict takes JSON, and this is not: {error}") from None


def _print(answer: Any) -> None:
    """Laid out for a person on a terminal, one line for a pipe."""
    click.echo(json.dumps(answer, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


@contextmanager
def _told() -> Iterator[None]:
    """Errors that a person can do something about, as one message and exit status 1."""
    try:
        yield
    except requests.ConnectionError as error:
        address = error.request.url if error.request and error.request.url else "that address"
        place = "/".join(str(address).split("/")[:3])
        raise click.ClickException(
            f"no service answers at {place}: start one with `mldeploy up`, or say where it is with --url or MLDEPLOY_URL"
        ) from None
    except (Problem, BadSettings, CannotStart, NoRedis, OSError, ValueError) as error:  # requests' own are among them
        raise click.ClickException(str(error)) from None
