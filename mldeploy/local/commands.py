"""`mldeploy up` and `mldeploy demo`."""

import os
import sys
from typing import Any

import click

from mldeploy.cli.output import errors_reported
from mldeploy.local.announcer import Announcer
from mldeploy.local.server_choice import NoRedis
from mldeploy.local.up import CannotStart, Up
from settings import Settings, load


def place_options(command: Any) -> Any:
    """The options of `up`; each is mirrored by an environment variable MLDEPLOY_<NAME>."""
    for option in reversed(
        [
            click.option("--home", type=click.Path(file_okay=False), help="Jobs, models, logs.  [default: ~/.mldeploy]"),
            click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
            click.option("--port", type=int, help="Port to listen on.  [default: 5000]"),
            click.option("--predict-workers", type=int, help="Processes that predict.  [default: 2]"),
            click.option("--train-workers", type=int, help="Processes that train.  [default: 1]"),
            click.option("--insecure", is_flag=True, default=None, help="Serve other machines without keys."),
        ]
    ):
        command = option(command)
    return command


@click.command()
@place_options
def up(**options: Any) -> None:
    """Run the whole service on this machine, until Ctrl-C.

    Starts a Redis of its own (or uses the one at MLDEPLOY_REDIS_URL), the API, workers and reconciler, and restarts what
    dies. Every option can be set as MLDEPLOY_<NAME> too.
    """
    with errors_reported(CannotStart, NoRedis), Announcer() as announcer:
        Up(_settings(options), announcer.say).run()


@click.command()
@place_options
@click.option("--once", is_flag=True, help="End after the last step.")
@click.option("--verbose", is_flag=True, help="Show the JSON of every request and response.")
def demo(once: bool, verbose: bool, **options: Any) -> None:
    """Train, predict, replace the model and roll back, step by step.

    Then the service is left running until Ctrl-C, or with --once ended.
    """
    with errors_reported():
        settings = _settings(options)
    program = [
        sys.executable,
        "-P",
        "-m",
        "mldeploy.demo",
        *(["--once"] if once else []),
        *(["--verbose"] if verbose else []),
    ]  # in its own process: only the demo needs scikit-learn
    os.execve(program[0], program, settings.environment())


def _settings(options: dict[str, Any]) -> Settings:
    return load().replace(**{name: value for name, value in options.items() if value is not None})
