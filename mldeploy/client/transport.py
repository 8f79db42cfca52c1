"""HTTP calls with the caller's key, made again when they failed in passing."""

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
from mldeploy.client.problems import Problem, Unavailable, problem_of, told_by

T = TypeVar("T")

PASSING = (Unavailable, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

FIRST_PAUSE = 0.2  # seconds at most before the second attempt; each further one may wait twice as long …
MAX_PAUSE = 5.0  # … up to here, on top of what the service asks for
HERE = re.compile(r"localhost|127(\.\d+){3}|::1")
SILENCE = 30.0  # of a stream whose heart beats every 10 s


class Key(AuthBase):
    """As an object of its own, for requests would let a line in ~/.netrc replace a plain header."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def passing(error: Exception) -> bool:
    """For calls that may be made twice."""
    return isinstance(error, PASSING) and not isinstance(error, requests.exceptions.SSLError)


def refused(error: Exception) -> bool:
    """For calls that may not: this one never reached the service."""
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError | ConnectTimeoutError)


def never(_: Exception) -> bool:
    return False


class Calls:
    """``retry_for``: seconds from the first attempt to the last."""

    def __init__(self, url: str, timeout: float, api_key: str, retry_for: float) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/") + "/"
        place = urlsplit(self.url)
        self._timeout = timeout
        self._retry_for = retry_for
        self._session = requests.Session()
        if place.scheme == "http" and HERE.fullmatch(place.hostname or ""):
            self._session.trust_env = False  # a proxy does not lead to this machine
        if api_key.strip():
            self._session.auth = Key(api_key.strip())

    def json(
        self, method: str, path: str, *, held: float = 0.0, again: Callable[[Exception], bool] = passing, **options: Any
    ) -> dict[str, Any]:
        """The answer's JSON; raises Problem. ``held``: seconds that the answer is held on request."""

        def call() -> dict[str, Any]:
            answer = self._session.request(method, self._at(path), timeout=self._timeout + held, **options)
            if answer.status_code >= 400:
                raise problem_of(answer)
            return told_by(answer)

        return self._retried(call, again)

    def stream(self, path: str, last_id: str) -> requests.Response:
        """The answer, 200 with events to come or 204 if there are none after ``last_id``. To be closed. Asked once."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        headers |= {"Last-Event-ID": last_id} if last_id else {}
        timeouts = self._timeout, SILENCE
        answer = self._session.get(self._at(path), stream=True, timeout=timeouts, headers=headers)
        if answer.status_code == 204 or answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            return answer
        with answer:
            raise problem_of(answer) if answer.status_code >= 400 else _no_events(answer)

    def _at(self, path: str) -> str:
        """Below the service's own address, which may have a path before its routes."""
        return self.url + path.lstrip("/")

    def _retried(self, call: Callable[[], T], again: Callable[[Exception], bool]) -> T:
        """Raises the last error."""
        deadline = time.monotonic() + self._retry_for
        for attempt in itertools.count():
            try:
                return call()
            except (Problem, requests.RequestException) as error:
                pause = _pause(error, attempt)
                if not again(error) or time.monotonic() + pause > deadline:
                    raise
                if attempt == 0:
                    log.info("%s: %s; trying again for %g s", self.url.rstrip("/"), reason(error), self._retry_for)
            time.sleep(pause)
        raise AssertionError


def _pause(error: Exception, attempt: int) -> float:
    """What the service asks for, and a random part more, so that all who were turned away don't come back at once."""
    asked = error.retry_after if isinstance(error, Unavailable) else 0.0
    return asked + random.uniform(0, min(MAX_PAUSE, FIRST_PAUSE * 2**attempt))  # noqa: S311


def _no_events(answer: requests.Response) -> Problem:
    told = f"{answer.url} answered {answer.headers.get('Content-Type', 'nothing')} where events were asked for"
    return Problem(answer.status_code, {"title": "no events came", "detail": told})
