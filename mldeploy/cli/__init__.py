"""The command line: `mldeploy up|demo|predict|train|jobs|result|watch|cancel|status|models|datasets|keys|webhook-secret`."""

import click

from mldeploy.cli.datasets import datasets
from mldeploy.cli.jobs import cancel, jobs, result, watch
from mldeploy.cli.keys import keys
from mldeploy.cli.models import models
from mldeploy.cli.service import demo, up
from mldeploy.cli.status import status
from mldeploy.cli.submit import predict, train
from mldeploy.cli.webhooks import webhook_secret
from mldeploy.closed_pipe import PipedGroup


@click.group(cls=PipedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mldeploy")
def main() -> None:
    """A scikit-learn model behind a job queue.

    Start with `mldeploy demo`, or `mldeploy up` and then `mldeploy predict '{"sepal_length": 5.0, …}'`.
    """


for command in (up, demo, predict, train, jobs, result, watch, cancel, status, models, datasets, keys, webhook_secret):
    main.add_command(command)
