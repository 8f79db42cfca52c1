"""Error responses as exceptions."""

from collections.abc import Mapping
from typing import Any

import requests

TRANSIENT = (429, 502, 503, 504)  # the same request may succeed a little later
ADVICE = {
    "unauthorized": "`mldeploy keys create`, on the server, makes a key: give it as MLDEPLOY_API_KEY, --api-key or api_key=",
    "forbidden": "`mldeploy keys create --scopes …`, on the server, makes a key that may",
}


class Problem(Exception):
    """An error response (RFC 9457). ``errors``: those of the input, each with pointer and detail. ``body``: the whole object."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.body: dict[str, Any] = dict(problem)
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", "error"))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[dict[str, str]] = list(problem.get("errors", ()))
        super().__init__(self._format())

    def _format(self) -> str:
        lines = [f"{self.title}: {self.detail}" if self.detail and not self.errors else self.title]
        lines += [f"  {error['pointer'] or '(body)'}: {error['detail']}" for error in self.errors]
        advice = ADVICE.get(self.type.rpartition(":")[2])
        return "\n".join([*lines, advice] if advice else lines)


class Unavailable(Problem):
    """The queue is full or not available; nothing is known to have been accepted. Retry in ``retry_after`` seconds."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float = 0.0) -> None:
        super().__init__(status, problem)
        self.retry_after = retry_after


class ServiceAway(TimeoutError):
    """The service was away for too long while the caller waited for a job; the job goes on."""


def read_problem(response: requests.Response) -> Problem:
    """The problem of a response with a status of 400 or more."""
    body = _object(response) or _foreign(response)
    if response.status_code in TRANSIENT:
        return Unavailable(response.status_code, body, _retry_after(response))
    return Problem(response.status_code, body)


def read_json(response: requests.Response) -> dict[str, Any]:
    """The JSON object of a successful response. Raises Problem for anything else."""
    body = _object(response)
    if body is None:
        raise Problem(response.status_code, _foreign(response))
    return body


def _object(response: requests.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _foreign(response: requests.Response) -> dict[str, Any]:
    title = f"HTTP {response.status_code} from {response.url[:200]}, and not from mldeploy"
    return {"title": title, "detail": " ".join(response.text[:200].split())}


def _retry_after(response: requests.Response) -> float:
    """The header in seconds. A date, which a proxy may send, counts as 0."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
