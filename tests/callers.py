"""Callers, each with a key of its own or none, over real HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from auth.keys import Keys
from jobs.ledger import Ledger

TIMEOUT = 40.0  # seconds


@dataclass(frozen=True)
class Caller:
    url: str
    token: str = ""
    id: str = ""  # of its key

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=TIMEOUT, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self.request("DELETE", path, **options)

    def end_of(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the job once it has ended."""
        answer = self.get(job["result_url"] + "?wait=30")
        assert answer.status_code == 200, answer.text
        ended: dict[str, Any] = answer.json()
        return ended


def keys_of(ledger: Ledger) -> Keys:
    return Keys(ledger.redis, ledger.prefix, ledger.guard)


def caller_with(url: str, ledger: Ledger, name: str, scopes: Sequence[str], rate: str = "") -> Caller:
    """Return a caller with a new key."""
    key, token = keys_of(ledger).create(name, scopes, rate)
    return Caller(url, token, key.id)


def code(answer: requests.Response) -> str:
    """Return the type of a problem without its prefix."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return str(problem["type"].rpartition(":")[2])
