"""Options that commands share, and the client that a command is given."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from mldeploy.cli.telling import told
from mldeploy.client import Client
from settings import load

RETRY_FOR = 3.0  # seconds: the API may be starting again, but a person wants to know soon that nobody is there


class Place(NamedTuple):
    """Where the service is, and how it is called. A group's holds for its commands, unless they say otherwise."""

    url: str = ""
    api_key: str = ""
    retry_for: float | None = None

    def client(self) -> Client:
        settings, retry_for = load(), RETRY_FOR if self.retry_for is None else self.retry_for
        return Client(self.url or settings.url, api_key=self.api_key or settings.api_key, retry_for=retry_for)


url_option = click.option("--url", default="", help="Where the service is.  [default: MLDEPLOY_URL, or http://127.0.0.1:5000]")
key_option = click.option("--api-key", default="", help="As `mldeploy keys create` told it.  [default: MLDEPLOY_API_KEY]")
retry_option = click.option(
    "--retry-for",
    type=click.FloatRange(min=0),
    help=f"Seconds to try again, while the service is away or busy.  [default: {RETRY_FOR:g}]",
)
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the result, or print the job.")
timeout_option = click.option("--timeout", type=click.FloatRange(min=0), help="Give up waiting after so many seconds.")


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """The command's first argument is a client; its errors are told."""

    @url_option
    @key_option
    @retry_option
    @functools.wraps(command)
    def run(url: str, api_key: str, retry_for: float | None, **arguments: Any) -> None:
        context = click.get_current_context()
        outer = context.obj or Place()
        inner = outer.retry_for if retry_for is None else retry_for
        context.obj = Place(url or outer.url, api_key or outer.api_key, inner)
        with told():
            command(context.obj.client(), **arguments)

    return run


def submission_options(command: Any) -> Any:
    """What may be said of every job."""
    for option in (
        click.option("--webhook", default="", help="A URL that is told of the job's end."),
        click.option("--expires-in", type=float, help="Do not start the job any more after so many seconds."),
        click.option("--label", default="", help="A name of yours, to find the job by: `mldeploy jobs --label …`."),
    ):
        command = option(command)
    return command
