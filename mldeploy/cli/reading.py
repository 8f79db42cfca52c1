"""Options that say how a table is read, for `train`, `datasets add` and `datasets look`."""

import json
from collections.abc import Callable
from typing import Any

import click

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
THOUSANDS = {"comma": ",", "point": ".", "space": " ", "apostrophe": "'"}
DECIMAL = {"point": ".", "comma": ","}
NAMES = ("types", "drop", "date_format", "dayfirst", "decimal", "thousands", "delimiter", "encoding", "na_values")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    options = (
        click.option(
            "--type", "types", multiple=True, metavar="COLUMN=TYPE", help="number, integer, boolean, category, date, ignore."
        ),
        click.option("--drop", multiple=True, metavar="COLUMN", help="A column that is not used. May be repeated."),
        click.option("--date-format", default="", help="Of dates that are not ISO 8601, as %d.%m.%Y."),
        click.option("--dayfirst/--monthfirst", default=None, help="Whether 1/2/2026 is in February, or in January."),
        click.option("--decimal", type=click.Choice(list(DECIMAL)), help="The decimal mark of numbers."),
        click.option("--thousands", type=click.Choice(list(THOUSANDS)), help="What divides thousands in numbers."),
        click.option("--delimiter", type=click.Choice(list(DELIMITERS)), help="Between the fields of a CSV.  [default: found]"),
        click.option("--encoding", default="", help="Of a CSV, such as cp1252.  [default: UTF-8]"),
        click.option(
            "--na-value", "na_values", multiple=True, help="A word for a missing value, instead of NA, null and the like."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def take_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of a command's, as the client has them. Raises click.UsageError."""
    found = {name: options.pop(name) for name in NAMES}
    pairs = [text.rpartition("=") for text in found["types"]]
    wrong = next((text for text, (name, _, _) in zip(found["types"], pairs, strict=True) if not name), None)
    if wrong is not None:
        raise click.UsageError(f"--type takes COLUMN=TYPE, as zip=category, and not {json.dumps(wrong)}")
    marks = {"decimal": DECIMAL, "thousands": THOUSANDS, "delimiter": DELIMITERS}
    given = {name: marks[name][found[name]] for name in marks if found[name]}
    lists = {name: list(found[name]) for name in ("drop", "na_values") if found[name]}
    plain = {name: found[name] for name in ("date_format", "encoding", "dayfirst") if found[name] not in ("", None)}
    types = {"types": {name: type_ for name, _, type_ in pairs}} if pairs else {}
    return {**types, **given, **lists, **plain}
