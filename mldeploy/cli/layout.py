"""Decides between tables and JSON, and formats values."""

import json
import sys
from typing import Any

import click

JSON_REQUESTED = "mldeploy.json_requested"  # in the context of a group and its commands


def _remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[JSON_REQUESTED] = value or context.meta.get(JSON_REQUESTED, False)


def json_option(command: Any) -> Any:
    """Adds --json to a command that prints a table, or to a group, where it is an option of its commands too."""
    option = click.option("--json", is_flag=True, expose_value=False, callback=_remember, help="Print JSON also on a terminal.")
    return option(command)


def shows_tables() -> bool:
    """Whether the command prints for a person: on a terminal, and without --json."""
    return sys.stdout.isatty() and not click.get_current_context().meta.get(JSON_REQUESTED, False)


def format_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON. On a terminal the characters that it would obey are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if not sys.stdout.isatty():
        return text
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def format_time(timestamp: str) -> str:
    """2026-01-31T12:00:00.000Z as people write it, to the second."""
    return f"{timestamp[:19].replace('T', ' ')}Z"
