"""`mldeploy datasets`: list and show data sets, and add rows to them."""

from pathlib import Path
from typing import Any

import click

from mldeploy.cli.groups import NamedGroup, on_the_server
from mldeploy.cli.layout import json_option, shows_tables
from mldeploy.cli.options import submission_options, timeout_option, wait_option, with_client
from mldeploy.cli.output import print_json, show
from mldeploy.cli.reading import reading_options, take_reading
from mldeploy.cli.table import Column, print_table
from mldeploy.client import Client

DATASETS = (Column("NAME"), Column("ROWS"), Column("COLUMNS"), Column("TARGET"))
REPORT = (Column("COLUMN"), Column("TYPE"), Column("MISSING"), Column("DISTINCT"), Column("EXAMPLES"))
DATASET = (Column("COLUMN"), Column("TYPE"), Column("USE"))


@click.group(cls=NamedGroup, invoke_without_command=True)
@json_option
@with_client
def datasets(client: Client) -> None:
    """List the data sets; `datasets NAME` shows one."""
    if click.get_current_context().invoked_subcommand is None:
        _print_datasets(client)


@datasets.command("list")
@json_option
@with_client
def list_datasets(client: Client) -> None:
    """All of them."""
    _print_datasets(client)


@datasets.command("show")
@click.argument("name")
@json_option
@with_client
def show_dataset(client: Client, name: str) -> None:
    """Its columns, and with --json also how many rows it has and when they came."""
    found = client.dataset(name)
    if shows_tables():
        print_table(DATASET, [(column, type_, _use(found, column)) for column, type_ in found["types"].items()])
    else:
        print_json(found)


@datasets.command("add")
@click.argument("name")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", multiple=True, help="A column by which rows are unique from now on: the last one counts. May be repeated.")
@click.option("--dedupe", is_flag=True, help="Leave out rows that are like stored ones.")
@click.option("--again", is_flag=True, help="Add TABLE even if it was added before.")
@reading_options
@submission_options
@with_client
@wait_option
@timeout_option
def add_rows(client: Client, name: str, table: Path, wait: bool, timeout: float | None, **options: Any) -> None:
    """Add the rows of TABLE (.csv, .parquet, .ndjson) to NAME. Every row counts; the very same table is added once."""
    reading = take_reading(options)
    show(client.add_rows(name, table, reading=reading, **options), wait, timeout)


@datasets.command("look")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="look", help="The data set whose types and options hold, if it exists.")
@reading_options
@json_option
@with_client
@timeout_option
def look_at(client: Client, table: Path, name: str, timeout: float | None, **options: Any) -> None:
    """Show what is understood of TABLE, column by column, and add nothing."""
    found = client.add_rows(name, table, look=True, reading=take_reading(options)).wait(timeout)
    if not shows_tables():
        print_json(found)
        return
    print_table(
        REPORT, [(c["name"], c["type"], c["missing"], c["distinct"], ", ".join(c.get("examples", ()))) for c in found["columns"]]
    )
    for note in [*found["notes"], *(f"{c['name']!r} {doubt}" for c in found["columns"] for doubt in c.get("doubts", ()))]:
        click.echo(note)


def _print_datasets(client: Client) -> None:
    found = client.datasets()
    if shows_tables():
        print_table(DATASETS, [(each["name"], each["rows"], len(each["types"]), each["target"]) for each in found])
    else:
        print_json(found)


def _use(dataset: dict[str, Any], column: str) -> str:
    uses = [use for use in ("target", "weight") if dataset[use] == column]
    return ", ".join([*uses, "key"] if column in dataset.get("key", ()) else uses)


on_the_server(datasets, "datasets", "delete", "Delete a data set, or rows of it, for good, on the server.")
