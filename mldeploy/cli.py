"""The command line: `mldeploy up|demo|predict|train|result|cancel|models|datasets`."""

import getpass
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

POLL = 2.0  # seconds between looks at how far a job is
BAR = 20  # characters

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
@click.option("--drop-extra", is_flag=True, help="Drop fields that the model does not take.")
@url_option
@wait_option
@timeout_option
def predict(measurements: str, url: str, wait: bool, timeout: float | None, **options: Any) -> None:
    """Predict MEASUREMENTS: JSON (an object or an array of them), a file that holds it, or - for standard input."""
    with _told():
        rows = _read_json(measurements)
        _show(_client(url).predict(rows, **options), wait, timeout)


@main.command()
@click.argument("table", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", help="The model's name.  [default: the service's own]")
@click.option("--dataset", default="", help="Train on the rows of this data set.  [default: the model's own]")
@click.option("--target", default="", help="The column to predict.  [default: the model's own, or the last one]")
@click.option("--weight", default="", help="A column of sample weights.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="[default: told from the target]")
@click.option("--estimator", default="", help="A scikit-learn class, or auto.  [default: the champion's, or auto]")
@click.option("--params", default="", help="Its parameters, as JSON: '{\"max_depth\": 3}'")
@click.option("--search", type=click.FloatRange(min=0), help="Look for better parameters, for so many seconds.")
@click.option("--unknown", type=click.Choice(["refuse", "ignore"]), help="Categories not seen in training.  [default: refuse]")
@click.option("--promote", type=click.Choice(["if_better", "always", "never"]), default="if_better", show_default=True)
@click.option("--metric", help="What the gate compares.  [default: accuracy, or rmse]")
@click.option("--min-improvement", type=click.FloatRange(min=0), help="By more than so much it must be better.  [default: 0]")
@click.option("--confidence", type=float, help="Such as 0.95: all of the improvement's interval must be better.")
@click.option("--test-share", type=float, help="Of the rows; fixed by the first training.  [default: 0.2]")
@url_option
@wait_option
@timeout_option
def train(table: Path | None, url: str, wait: bool, timeout: float | None, params: str, **options: Any) -> None:
    """Train on TABLE (.csv, .parquet, .ndjson), or, without one, on the rows that the model has.

    One row in five is kept for testing. The new version serves if it is better on those rows than the one in service.
    """
    with _told():
        options["params"] = _params(params)
        _show(_client(url).train(table, **options), wait, timeout)


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


class Named(click.Group):
    """A group of commands that also takes a name: `models iris` is `models show iris`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@main.group(cls=Named, invoke_without_command=True)
@url_option
@click.pass_context
def models(context: click.Context, url: str) -> None:
    """List the models; `models NAME` shows one: what it takes, its versions, how they were judged, who moved them."""
    context.obj = url
    if context.invoked_subcommand is None:
        with _told():
            _print(_client(url).models())


@models.command("show")
@click.argument("name")
@url_option
@click.pass_obj
def show_model(outer: str, name: str, url: str) -> None:
    """What it takes, its versions, how they were judged."""
    with _told():
        _print(_client(url or outer).model(name))


@models.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@click.option("--alias", default="champion", show_default=True, help="champion serves.")
@click.option("--why", default="", help="Logged with the move.")
@url_option
@click.pass_obj
def promote(outer: str, name: str, version: int, alias: str, why: str, url: str) -> None:
    """Make VERSION serve, or give it another alias."""
    with _told():
        _print(_client(url or outer).promote(name, version, alias=alias, who=getpass.getuser(), why=why))


@models.command()
@click.argument("name")
@click.option("--why", default="", help="Logged with the move.")
@url_option
@click.pass_obj
def rollback(outer: str, name: str, why: str, url: str) -> None:
    """Back to the version that served before; again, and it goes one further back."""
    with _told():
        _print(_client(url or outer).rollback(name, who=getpass.getuser(), why=why))


def _on_the_server(group: click.Group, name: str, told: str, command: str) -> None:
    """A command that runs on the server, in a process of its own: it needs scikit-learn, we do not."""

    @group.command(name, help=told, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        program = [sys.executable, "-m", "mldeploy.operate", command, *arguments]
        os.execv(program[0], program)


_on_the_server(models, "import", "Bring in a model of yours, on the server.", "import")
_on_the_server(models, "export", "Write a version with its card into a zip, on the server.", "export")
_on_the_server(models, "refit", "Train what serves again, for a new scikit-learn, on the server.", "refit")
_on_the_server(models, "delete", "Delete a model or a version for good, on the server.", "delete")


@main.group(cls=Named, invoke_without_command=True)
@url_option
@click.pass_context
def datasets(context: click.Context, url: str) -> None:
    """List the data sets; `datasets NAME` shows one."""
    context.obj = url
    if context.invoked_subcommand is None:
        with _told():
            _print(_client(url).datasets())


@datasets.command("show")
@click.argument("name")
@url_option
@click.pass_obj
def show_dataset(outer: str, name: str, url: str) -> None:
    """Its columns, how many rows it has, what it was trained for."""
    with _told():
        _print(_client(url or outer).dataset(name))


@datasets.command("add")
@click.argument("name")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@url_option
@wait_option
@timeout_option
@click.pass_obj
def add_rows(outer: str, name: str, table: Path, url: str, wait: bool, timeout: float | None) -> None:
    """Add the rows of TABLE (.csv, .parquet, .ndjson) to NAME; those that it has already are skipped."""
    with _told():
        _show(_client(url or outer).add_rows(name, table), wait, timeout)


_on_the_server(datasets, "delete", "Delete a data set, or rows of it, for good, on the server.", "delete-data")


def _settings(options: dict[str, Any]) -> Settings:
    return load().replace(**{name: value for name, value in options.items() if value is not None})


def _client(url: str) -> Client:
    return Client(url or load().url)


def _show(job: Job, wait: bool, timeout: float | None) -> None:
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
    _print(job.answer)
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


def _params(given: str) -> dict[str, Any]:
    try:
        params = json.loads(given or "{}")
    except ValueError as error:
        raise click.UsageError(f"--params takes JSON, and this is not: {error}") from None
    if not isinstance(params, dict):
        raise click.UsageError("--params takes a JSON object")
    return params


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
