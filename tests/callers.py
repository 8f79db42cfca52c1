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

    def ask(self, method: str, path: str, **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= given.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=TIMEOUT, **given)

    def get(self, path: str, **given: Any) -> requests.Response:
        return self.ask("GET", path, **given)

    def post(self, path: str, **given: Any) -> requests.Response:
        return self.ask("POST", path, **given)

    def delete(self, path: str, **given: Any) -> requests.Response:
        return self.ask("DELETE", path, **given)

    def end_of(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job as it is told when it has ended."""
        answer = self.get(job["result_url"] + "?wait=30")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


def keys_of(ledger: Ledger) -> Keys:
    return Keys(ledger.redis, ledger.prefix, ledger.guard)


def caller_with(url: str, ledger: Ledger, name: str, scopes: Sequence[str], rate: str = "") -> Caller:
    """With a new key."""
    key, token = keys_of(ledger).create(name, scopes, rate)
    return Caller(url, token, key.id)


def code(answer: requests.Response) -> str:
    """Of a problem."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return str(problem["type"].rpartition(":")[2])
