"""`mldeploy datasets`: list and show data sets, and add rows to them."""

from pathlib import Path
from typing import Any

import click

from mldeploy.cli.groups import NamedGroup, on_the_server
from mldeploy.cli.options import submission_options, timeout_option, wait_option, with_client
from mldeploy.cli.output import print_json, show
from mldeploy.client import Client


@click.group(cls=NamedGroup, invoke_without_command=True)
@with_client
def datasets(client: Client) -> None:
    """List the data sets; `datasets NAME` shows one."""
    if click.get_current_context().invoked_subcommand is None:
        print_json(client.datasets())


@datasets.command("list")
@with_client
def list_datasets(client: Client) -> None:
    """All of them."""
    print_json(client.datasets())


@datasets.command("show")
@click.argument("name")
@with_client
def show_dataset(client: Client, name: str) -> None:
    """Its columns, how many rows it has, what it was trained for."""
    print_json(client.dataset(name))


@datasets.command("add")
@click.argument("name")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@submission_options
@with_client
@wait_option
@timeout_option
def add_rows(client: Client, name: str, table: Path, wait: bool, timeout: float | None, **options: Any) -> None:
    """Add the rows of TABLE (.csv, .parquet, .ndjson) to NAME; those that it has already are skipped."""
    show(client.add_rows(name, table, **options), wait, timeout)


on_the_server(datasets, "datasets", "delete", "Delete a data set, or rows of it, for good, on the server.")
