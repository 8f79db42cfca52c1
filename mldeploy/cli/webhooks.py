"""`mldeploy webhook-secret`."""

import click

from mldeploy.cli.options import with_client
from mldeploy.client import Client


@click.command("webhook-secret")
@click.option("--rotate", is_flag=True, help="Make a new one; for a day webhooks are signed with the old one too.")
@with_client
def webhook_secret(client: Client, rotate: bool) -> None:
    """Print the secret that your webhooks are signed with (Standard Webhooks), and nothing else."""
    click.echo(client.rotate_webhook_secret() if rotate else client.webhook_secret())
