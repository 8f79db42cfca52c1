"""Waits for the end of an outage of the service, for a bounded time, while a caller waits for a job."""

import logging
import time

import requests

from mldeploy.client.problems import Problem, ServiceAway, Unavailable

log = logging.getLogger("mldeploy.client")

FIRST_PAUSE = 0.2  # seconds before the second attempt; the pause doubles with each further one …
MAX_PAUSE = 2.0  # … up to this, or to the service's Retry-After

TOO_MANY_REQUESTS = 429  # the service runs and limits the rate


class Outage:
    """``url``: of the service. ``retry_for``: seconds that it may be away in a row."""

    def __init__(self, url: str, retry_for: float) -> None:
        self._url = url.rstrip("/")
        self._retry_for = retry_for
        self._since: float | None = None
        self._failures = 0

    def pause_after(self, error: Exception) -> float:
        """Seconds until the next attempt. Logs a warning at the first failure. Raises ServiceAway after the last attempt."""
        if isinstance(error, Unavailable) and error.status == TOO_MANY_REQUESTS:
            self.end()
            return max(error.retry_after, FIRST_PAUSE)
        now, pause = time.monotonic(), self._pause(error)
        away = 0.0 if self._since is None else now - self._since
        if away + pause > self._retry_for:
            raise ServiceAway(f"the service at {self._url} has been away for {away:.0f} s ({reason(error)})") from error
        if self._since is None:
            self._since = now
            log.warning("%s: %s; trying again for %g s", self._url, reason(error), self._retry_for)
        self._failures += 1
        return pause

    def end(self) -> None:
        if self._since is not None:
            log.warning("%s answers again after %.0f s", self._url, time.monotonic() - self._since)
        self._since, self._failures = None, 0

    def _pause(self, error: Exception) -> float:
        retry_after = error.retry_after if isinstance(error, Unavailable) else 0.0
        return max(min(retry_after, self._retry_for), min(MAX_PAUSE, FIRST_PAUSE * 2.0**self._failures))


def reason(error: Exception) -> str:
    """A short text for the error: that of the HTTP library contains object names and memory addresses."""
    if isinstance(error, Problem):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    return "no connection" if isinstance(error, requests.ConnectionError) else "the answer was cut"
