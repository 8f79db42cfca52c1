"""`mldeploy result`, `watch`, `cancel` and `jobs`."""

import sys
import time

import click

from mldeploy.cli.connection import current_connection
from mldeploy.cli.job_table import print_jobs
from mldeploy.cli.layout import json_option
from mldeploy.cli.options import timeout_option, wait_option, with_client
from mldeploy.cli.output import follow, print_json, progress_shown, show
from mldeploy.client import Client, Job, Problem

STATES = ["queued", "running", "succeeded", "failed", "canceled", "expired"]
KINDS = ["predict", "train", "dataset"]


@click.command()
@click.argument("job_id")
@with_client
@wait_option
@timeout_option
def result(client: Client, job_id: str, wait: bool, timeout: float | None) -> None:
    """Show a job, by default when it has ended."""
    show(client.result(job_id), wait, timeout)


@click.command()
@click.argument("job_id")
@with_client
def watch(client: Client, job_id: str) -> None:
    """Follow a job to its end: its place in the line, how far it is, its result.

    Piped, each event is a line of JSON as it comes. The exit status is that of `result`.
    """
    follow(client.result(job_id))


@click.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Wait until those that run have been stopped.")
@timeout_option
@with_client
def cancel(client: Client, job_ids: tuple[str, ...], wait: bool, timeout: float | None) -> None:
    """Cancel jobs: queued ones at once, running ones are stopped. The exit status is 1 if one has ended otherwise."""
    jobs = [job for job_id in job_ids if (job := _cancel(client, job_id))]
    deadline = None if timeout is None else time.monotonic() + timeout
    for job in jobs:
        if wait:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            with progress_shown(job):
                job.wait(remaining, retry_for=current_connection().retry_wait_for)
        _print_canceled(job)
    if len(jobs) < len(job_ids) or not all(job.canceling or job.status == "canceled" for job in jobs):
        sys.exit(1)


@click.command()
@click.option("--status", type=click.Choice(STATES))
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--model", default="", help="Of this model, or data set.")
@click.option("--label", default="", help="With this label.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@json_option
@with_client
def jobs(client: Client, status: str | None, kind: str | None, model: str, label: str, limit: int) -> None:
    """List jobs, newest first: a table on a terminal, a line of JSON each when piped or with --json."""
    print_jobs(client.jobs(status=status or "", kind=kind or "", model=model, label=label, limit=limit))


def _cancel(client: Client, job_id: str) -> Job | None:
    try:
        return client.cancel(job_id)
    except Problem as problem:
        click.echo(f"Error: {job_id}: {problem}", err=True)
        return None


def _print_canceled(job: Job) -> None:
    if sys.stdout.isatty():
        click.echo(f"{job.id} {'is being stopped' if job.canceling else job.status}")
    else:
        print_json(job.answer)
