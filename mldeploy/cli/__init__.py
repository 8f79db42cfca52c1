"""The command line's client half: `mldeploy predict|train|jobs|result|watch|cancel|status|models|datasets|webhook-secret`.

The distribution mldeploy-client has these alone; mldeploy.local.main adds what runs on the server.
"""

from importlib.util import find_spec

import click

from mldeploy.cli.datasets import datasets
from mldeploy.cli.jobs import cancel, jobs, result, watch
from mldeploy.cli.models import models
from mldeploy.cli.status import status
from mldeploy.cli.submit import predict, train
from mldeploy.cli.webhooks import webhook_secret
from mldeploy.closed_pipe import PipedGroup


@click.group(cls=PipedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mldeploy" if find_spec("mldeploy.local") else "mldeploy-client")
def main() -> None:
    """A scikit-learn model behind a job queue.

    Say where the service is with MLDEPLOY_URL or --url, and start with `mldeploy status`.
    """


for command in (predict, train, jobs, result, watch, cancel, status, models, datasets, webhook_secret):
    main.add_command(command)
