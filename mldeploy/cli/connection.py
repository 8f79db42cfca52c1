"""The options of the connection: the service's URL, the API key, and how long the service may be away."""

from collections.abc import Callable
from typing import NamedTuple

import click

from mldeploy.cli.environment import url_and_key
from mldeploy.client import Client
from mldeploy.client.job import RETRY_FOR

RETRY_CALL_FOR = 3.0  # seconds; the API may be restarting, but the user wants to know soon that it does not run


class Connection(NamedTuple):
    """The options of a group also apply to its commands, unless these have their own. ``retry_for``: seconds, if it was set."""

    url: str = ""
    api_key: str = ""
    retry_for: float | None = None

    def client(self, on_upload: Callable[[int, int], None] | None) -> Client:
        """``on_upload``: see the client."""
        retry_for = RETRY_CALL_FOR if self.retry_for is None else self.retry_for
        url, api_key = url_and_key()
        return Client(self.url or url, api_key=self.api_key or api_key, retry_for=retry_for, on_upload=on_upload)

    @property
    def retry_wait_for(self) -> float:
        """Seconds that the service may be away while a command waits for a job."""
        return RETRY_FOR if self.retry_for is None else self.retry_for


def current_connection() -> Connection:
    """The connection options of the current command."""
    found: Connection = click.get_current_context().obj or Connection()
    return found
