"""Prints jobs as a table."""

from collections.abc import Iterable

import click

from mldeploy.cli.layout import format_json, format_time, shows_tables
from mldeploy.cli.table import NARROW, Column, print_table
from mldeploy.client import Job

COLUMNS = (
    Column("ID", whole=True),
    Column("KIND", from_width=100),
    Column("MODEL", from_width=NARROW),
    Column("STATUS", whole=True),
    Column("LABEL"),
    Column("CREATED", from_width=110),
    Column("ROWS", from_width=110),
)


def print_jobs(jobs: Iterable[Job]) -> None:
    """Prints a table on a terminal, and otherwise a line of JSON for each job as the pages arrive."""
    if shows_tables():
        print_table(COLUMNS, map(_row, jobs))
        return
    for job in jobs:
        click.echo(format_json(job.answer))


def _row(job: Job) -> tuple[object, ...]:
    fields = job.answer
    model = fields.get("model") or fields.get("dataset") or {}
    of = "/".join(str(model[part]) for part in ("name", "version") if part in model)
    status = "canceling" if job.canceling else job.status
    return job.id, fields["kind"], of, status, job.label, format_time(fields["created_at"]), fields.get("rows")
