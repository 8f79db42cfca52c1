"""Options that commands share, and the decorator that passes a client to a command."""

import functools
from collections.abc import Callable
from typing import Any

import click

from mldeploy.cli.connection import RETRY_CALL_FOR, Connection, current_connection
from mldeploy.cli.output import errors_reported
from mldeploy.cli.uploads import uploads_shown
from mldeploy.cli.waiting import notices
from mldeploy.client.job import RETRY_FOR

url_option = click.option("--url", default="", help="Where the service is.  [default: MLDEPLOY_URL, or http://127.0.0.1:5000]")
key_option = click.option("--api-key", default="", help="As `mldeploy keys create` printed it.  [default: MLDEPLOY_API_KEY]")
retry_option = click.option(
    "--retry-for",
    type=click.FloatRange(min=0),
    help=f"Seconds to try again, while the service is away or busy.  [default: {RETRY_CALL_FOR:g}, and {RETRY_FOR:g} to wait]",
)
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the result, or print the job.")
timeout_option = click.option("--timeout", type=click.FloatRange(min=0), help="Give up waiting after so many seconds.")


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Passes a client as the command's first argument, and reports its errors."""

    @url_option
    @key_option
    @retry_option
    @functools.wraps(command)
    def run(url: str, api_key: str, retry_for: float | None, **arguments: Any) -> None:
        outer = current_connection()
        inner = outer.retry_for if retry_for is None else retry_for
        connection = Connection(url or outer.url, api_key or outer.api_key, inner)
        click.get_current_context().obj = connection
        with errors_reported(), notices(), uploads_shown() as on_upload:
            command(connection.client(on_upload), **arguments)

    return run


def submission_options(command: Any) -> Any:
    """Adds the options of every submission."""
    for option in (
        click.option("--webhook", default="", help="A URL to which the job's end is sent."),
        click.option("--expires-in", type=float, help="Do not start the job any more after so many seconds."),
        click.option("--label", default="", help="A name of yours, to find the job by: `mldeploy jobs --label …`."),
    ):
        command = option(command)
    return command
