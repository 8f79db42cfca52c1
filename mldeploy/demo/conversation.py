"""Sends requests to the service, and shows them and the responses on the page."""

from typing import Any
from urllib.parse import urlsplit

import requests

from mldeploy.client.transport import LOOPBACK_HOSTS
from mldeploy.demo.page import Page

JOB_TIMEOUT = 60  # seconds
POLL_INTERVAL = 1  # seconds that one request waits for a job's end
RESPONSE_TIMEOUT = 30


class DemoFailed(RuntimeError):
    """A step of the demo did not go as it should."""


class Conversation:
    def __init__(self, url: str, page: Page, api_key: str = "") -> None:
        self._url = url
        self._page = page
        self._session = requests.Session()
        if LOOPBACK_HOSTS.fullmatch(urlsplit(url).hostname or ""):
            self._session.trust_env = False  # a proxy would not reach this machine
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def job(self, description: str, path: str, body: Any, verb: str) -> dict[str, Any]:
        """The finished job. ``description``: of the body; ``verb``: what the demo waits for. Raises DemoFailed."""
        submitted = self.request("POST", path, body, description)
        self._page.line(f"202: accepted as job {submitted['id']}")
        waiting = self._page.waiting(verb)
        for _ in range(JOB_TIMEOUT):
            job = self._send("GET", f"{submitted['result_url']}?wait={POLL_INTERVAL}", None)
            if job["status"] not in ("queued", "running"):
                break
            waiting.show()
        waiting.done()
        self._page.json("←", job)
        if job["status"] != "succeeded":
            raise DemoFailed(f"{verb}: the job is {job['status']} ({job.get('error') or f'after {JOB_TIMEOUT} s'})")
        return job

    def request(self, method: str, path: str, body: Any = None, description: str = "") -> dict[str, Any]:
        """The response's JSON. Raises DemoFailed."""
        self._page.line(f"{method} {path}  {description}")
        if body is not None:
            self._page.json("→", body)
        response = self._send(method, path, body)
        self._page.json("←", response)
        return response

    def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=RESPONSE_TIMEOUT)
            found: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise DemoFailed(f"{method} {path}: {error}") from None
        if response.status_code >= 400:
            raise DemoFailed(f"{method} {path} was answered with {response.status_code}: {found.get('detail', found)}")
        return found
