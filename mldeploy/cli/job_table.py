"""Jobs as a table."""

import json
import sys
from collections.abc import Iterable

import click

from mldeploy.client import Job

COLUMNS = ("ID", "KIND", "MODEL", "STATUS", "LABEL", "CREATED", "ROWS")


def tell_jobs(jobs: Iterable[Job]) -> None:
    """For a pipe a line of JSON each, as the pages come."""
    if not sys.stdout.isatty():
        for job in jobs:
            click.echo(json.dumps(job.answer, ensure_ascii=False))
        return
    rows = [COLUMNS, *(_row(job) for job in jobs)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _row(job: Job) -> tuple[str, ...]:
    answer = job.answer
    model = answer.get("model") or answer.get("dataset") or {}
    of = "/".join(str(model[part]) for part in ("name", "version") if part in model)
    status = "canceling" if job.canceling else job.status
    created = str(answer["created_at"])[:19].replace("T", " ") + "Z"
    return job.id, str(answer["kind"]), of, status, job.label, created, str(answer.get("rows", ""))
