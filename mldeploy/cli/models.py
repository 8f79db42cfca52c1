"""`mldeploy models`: what there is, what serves, and what is done with models on the server."""

import getpass

import click

from mldeploy.cli.groups import Named, on_the_server
from mldeploy.cli.telling import client, tell, told, url_option


@click.group(cls=Named, invoke_without_command=True)
@url_option
@click.pass_context
def models(context: click.Context, url: str) -> None:
    """List the models; `models NAME` shows one: what it takes, its versions, how they were judged, who moved them."""
    context.obj = url
    if context.invoked_subcommand is None:
        with told():
            tell(client(url).models())


@models.command("list")
@url_option
@click.pass_obj
def list_models(outer: str, url: str) -> None:
    """All of them."""
    with told():
        tell(client(url or outer).models())


@models.command("show")
@click.argument("name")
@url_option
@click.pass_obj
def show_model(outer: str, name: str, url: str) -> None:
    """What it takes, its versions, how they were judged."""
    with told():
        tell(client(url or outer).model(name))


@models.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@click.option("--alias", default="champion", show_default=True, help="champion serves.")
@click.option("--why", default="", help="Logged with the move.")
@url_option
@click.pass_obj
def promote(outer: str, name: str, version: int, alias: str, why: str, url: str) -> None:
    """Make VERSION serve, or give it another alias."""
    with told():
        tell(client(url or outer).promote(name, version, alias=alias, who=getpass.getuser(), why=why))


@models.command()
@click.argument("name")
@click.option("--why", default="", help="Logged with the move.")
@url_option
@click.pass_obj
def rollback(outer: str, name: str, why: str, url: str) -> None:
    """Back to the version that served before; again, and it goes one further back."""
    with told():
        tell(client(url or outer).rollback(name, who=getpass.getuser(), why=why))


on_the_server(models, "import", "Bring in a model of yours, on the server.", "import")
on_the_server(models, "export", "Write a version with its card into a zip, on the server.", "export")
on_the_server(models, "refit", "Train what serves again, for a new scikit-learn, on the server.", "refit")
on_the_server(models, "delete", "Delete a model or a version for good, on the server.", "delete")
