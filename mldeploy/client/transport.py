"""HTTP calls with the caller's key, retried after transient failures."""

import itertools
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from mldeploy.client.outage import log, reason
from mldeploy.client.payload import TableBody
from mldeploy.client.problems import Problem, Unavailable, read_json, read_problem

T = TypeVar("T")

TRANSIENT = (Unavailable, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

FIRST_PAUSE = 0.2  # maximum seconds before the second attempt; doubled for each further one …
MAX_PAUSE = 5.0  # … up to this, in addition to the service's Retry-After
LOOPBACK_HOSTS = re.compile(r"localhost|127(\.\d+){3}|::1")
STREAM_TIMEOUT = 30.0  # seconds; a stream has a heartbeat every 10 s


class Key(AuthBase):
    """An auth object instead of a plain header, which requests would replace by an entry in ~/.netrc."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def is_transient(error: Exception) -> bool:
    """Whether to retry a call that is idempotent."""
    return isinstance(error, TRANSIENT) and not isinstance(error, requests.exceptions.SSLError)


def not_sent(error: Exception) -> bool:
    """Whether to retry a call that is not idempotent: it never reached the service."""
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError | ConnectTimeoutError)


def never(_: Exception) -> bool:
    return False


class Calls:
    """``retry_for``: seconds from the first attempt to the last."""

    def __init__(
        self, url: str, timeout: float, api_key: str, retry_for: float, on_upload: Callable[[int, int], None] | None = None
    ) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/") + "/"
        parts = urlsplit(self.url)
        self._timeout = timeout
        self._retry_for = retry_for
        self._on_upload = on_upload
        self._session = requests.Session()
        if parts.scheme == "http" and LOOPBACK_HOSTS.fullmatch(parts.hostname or ""):
            self._session.trust_env = False  # a proxy would not reach this machine
        if api_key.strip():
            self._session.auth = Key(api_key.strip())

    def json(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        held: float = 0.0,
        retry_if: Callable[[Exception], bool] = is_transient,
        **options: Any,
    ) -> dict[str, Any]:
        """The response's JSON. ``held``: seconds that the service holds the response on request. Raises Problem."""

        def call() -> dict[str, Any]:
            body = TableBody(data, self._on_upload) if data else None
            response = self._session.request(method, self._at(path), data=body, timeout=self._timeout + held, **options)
            if response.status_code >= 400:
                raise read_problem(response)
            return read_json(response)

        return self._retried(call, retry_if)

    def stream(self, path: str, last_id: str) -> requests.Response:
        """The response, which the caller closes: 200 with events, or 204 if there are none after ``last_id``. Not retried."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        headers |= {"Last-Event-ID": last_id} if last_id else {}
        timeouts = self._timeout, STREAM_TIMEOUT
        response = self._session.get(self._at(path), stream=True, timeout=timeouts, headers=headers)
        if response.status_code == 204 or response.headers.get("Content-Type", "").startswith("text/event-stream"):
            return response
        with response:
            raise read_problem(response) if response.status_code >= 400 else _no_events(response)

    def _at(self, path: str) -> str:
        """The URL below the service's own, which may have a path prefix."""
        return self.url + path.lstrip("/")

    def _retried(self, call: Callable[[], T], retry_if: Callable[[Exception], bool]) -> T:
        """Raises the last error."""
        deadline = time.monotonic() + self._retry_for
        for attempt in itertools.count():
            try:
                return call()
            except (Problem, requests.RequestException) as error:
                pause = _pause(error, attempt)
                if not retry_if(error) or time.monotonic() + pause > deadline:
                    raise
                if attempt == 0:
                    log.info("%s: %s; trying again for %g s", self.url.rstrip("/"), reason(error), self._retry_for)
            time.sleep(pause)
        raise AssertionError


def _pause(error: Exception, attempt: int) -> float:
    """The service's Retry-After and a random part, so that rejected callers do not all return at once."""
    retry_after = error.retry_after if isinstance(error, Unavailable) else 0.0
    return retry_after + random.uniform(0, min(MAX_PAUSE, FIRST_PAUSE * 2**attempt))  # noqa: S311


def _no_events(response: requests.Response) -> Problem:
    detail = f"{response.url} answered {response.headers.get('Content-Type', 'nothing')} where events were requested"
    return Problem(response.status_code, {"title": "no events came", "detail": detail})
