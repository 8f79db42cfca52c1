"""Where the service is, how it is called, and for how long it may be away."""

from typing import NamedTuple

import click

from mldeploy.client import Client
from mldeploy.client.job import RETRY_FOR
from settings import load

RETRY_CALL_FOR = 3.0  # seconds: the API may be starting again, but a person wants to know soon that nobody is there


class Place(NamedTuple):
    """A group's holds for its commands, unless they say otherwise. ``retry_for``: as it was given, in seconds."""

    url: str = ""
    api_key: str = ""
    retry_for: float | None = None

    def client(self) -> Client:
        settings, retry_for = load(), RETRY_CALL_FOR if self.retry_for is None else self.retry_for
        return Client(self.url or settings.url, api_key=self.api_key or settings.api_key, retry_for=retry_for)

    @property
    def retry_wait_for(self) -> float:
        """Seconds that the service may be away while a job is waited for."""
        return RETRY_FOR if self.retry_for is None else self.retry_for


def current_place() -> Place:
    """Of the command that runs."""
    found: Place = click.get_current_context().obj or Place()
    return found
