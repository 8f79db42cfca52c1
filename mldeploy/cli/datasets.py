"""`mldeploy datasets`: what there is, and more rows for it."""

from pathlib import Path

import click

from mldeploy.cli.groups import Named, on_the_server
from mldeploy.cli.telling import client, show, tell, timeout_option, told, url_option, wait_option


@click.group(cls=Named, invoke_without_command=True)
@url_option
@click.pass_context
def datasets(context: click.Context, url: str) -> None:
    """List the data sets; `datasets NAME` shows one."""
    context.obj = url
    if context.invoked_subcommand is None:
        with told():
            tell(client(url).datasets())


@datasets.command("list")
@url_option
@click.pass_obj
def list_datasets(outer: str, url: str) -> None:
    """All of them."""
    with told():
        tell(client(url or outer).datasets())


@datasets.command("show")
@click.argument("name")
@url_option
@click.pass_obj
def show_dataset(outer: str, name: str, url: str) -> None:
    """Its columns, how many rows it has, what it was trained for."""
    with told():
        tell(client(url or outer).dataset(name))


@datasets.command("add")
@click.argument("name")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@url_option
@wait_option
@timeout_option
@click.pass_obj
def add_rows(outer: str, name: str, table: Path, url: str, wait: bool, timeout: float | None) -> None:
    """Add the rows of TABLE (.csv, .parquet, .ndjson) to NAME; those that it has already are skipped."""
    with told():
        show(client(url or outer).add_rows(name, table), wait, timeout)


on_the_server(datasets, "delete", "Delete a data set, or rows of it, for good, on the server.", "delete-data")
