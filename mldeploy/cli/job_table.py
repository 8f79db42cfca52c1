"""Prints jobs as a table."""

import json
import sys
from collections.abc import Iterable

import click

from mldeploy.client import Job

COLUMNS = ("ID", "KIND", "MODEL", "STATUS", "LABEL", "CREATED", "ROWS")


def print_jobs(jobs: Iterable[Job]) -> None:
    """Prints a table on a terminal, and otherwise a line of JSON for each job as the pages arrive."""
    if not sys.stdout.isatty():
        for job in jobs:
            click.echo(json.dumps(job.answer, ensure_ascii=False))
        return
    rows = [COLUMNS, *(_row(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(job: Job) -> tuple[str, ...]:
    fields = job.answer
    model = fields.get("model") or fields.get("dataset") or {}
    of = "/".join(str(model[part]) for part in ("name", "version") if part in model)
    status = "canceling" if job.canceling else job.status
    created = str(fields["created_at"])[:19].replace("T", " ") + "Z"
    return job.id, str(fields["kind"]), of, status, job.label, created, str(fields.get("rows", ""))
