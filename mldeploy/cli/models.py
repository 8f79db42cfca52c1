"""`mldeploy models`: list and show models, move aliases, and the models commands that run on the server."""

import click

from mldeploy.account import account
from mldeploy.cli.groups import NamedGroup, on_the_server
from mldeploy.cli.layout import json_option, shows_tables
from mldeploy.cli.model_tables import print_models, print_versions
from mldeploy.cli.options import with_client
from mldeploy.cli.output import print_json
from mldeploy.client import Client


@click.group(cls=NamedGroup, invoke_without_command=True)
@json_option
@with_client
def models(client: Client) -> None:
    """List the models; `models NAME` shows one: its versions, and with --json also what it takes, how they were evaluated, who
    moved their aliases."""
    if click.get_current_context().invoked_subcommand is None:
        _print_models(client)


@models.command("list")
@json_option
@with_client
def list_models(client: Client) -> None:
    """All of them."""
    _print_models(client)


@models.command("show")
@click.argument("name")
@json_option
@with_client
def show_model(client: Client, name: str) -> None:
    """Its versions, and with --json also what it takes, how they were evaluated, who moved their aliases."""
    found = client.model(name)
    if shows_tables():
        print_versions(found)
    else:
        print_json(found)


@models.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@click.option("--alias", default="champion", show_default=True, help="champion serves.")
@click.option("--why", default="", help="Logged with the move.")
@with_client
def promote(client: Client, name: str, version: int, alias: str, why: str) -> None:
    """Make VERSION serve, or give it another alias."""
    print_json(client.promote(name, version, alias=alias, who=account(), why=why))


@models.command()
@click.argument("name")
@click.option("--why", default="", help="Logged with the move.")
@with_client
def rollback(client: Client, name: str, why: str) -> None:
    """Back to the version that served before; again, and it goes one further back."""
    print_json(client.rollback(name, who=account(), why=why))


def _print_models(client: Client) -> None:
    found = client.models()
    if shows_tables():
        print_models(found)
    else:
        print_json(found)


on_the_server(models, "models", "import", "Bring in a model of yours, on the server.")
on_the_server(models, "models", "adopt", "Register what the store has and Redis has lost, on the server.")
on_the_server(models, "models", "export", "Write a version with its card into a zip, on the server.")
on_the_server(models, "models", "refit", "Train what serves again, for a new scikit-learn, on the server.")
on_the_server(models, "models", "delete", "Delete a model or a version for good, on the server.")
