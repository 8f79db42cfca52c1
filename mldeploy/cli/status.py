"""`mldeploy status`."""

import sys

import click

from mldeploy.cli.options import with_client
from mldeploy.cli.output import print_json
from mldeploy.client import Client


@click.command()
@with_client
def status(client: Client) -> None:
    """Say whether the service is ready, degraded or not-ready, and why.

    The exit status is 1 if it is not ready, and 2 if it does not answer.
    """
    found = client.ready()
    print_json(found)
    sys.exit(found["status"] == "not-ready")
