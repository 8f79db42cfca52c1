"""Error answers as exceptions."""

from collections.abc import Mapping
from typing import Any

import requests

PASSING = (429, 502, 503, 504)  # the same request may well be taken a little later
ADVICE = {
    "unauthorized": "`mldeploy keys create`, on the server, makes a key: give it as MLDEPLOY_API_KEY, --api-key or api_key=",
    "forbidden": "`mldeploy keys create --scopes …`, on the server, makes a key that may",
}


class Problem(Exception):
    """An error answer (RFC 9457). ``errors`` lists what is wrong with the input: pointer and detail; ``body`` is all of it."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.body: dict[str, Any] = dict(problem)
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", "error"))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[dict[str, str]] = list(problem.get("errors", ()))
        super().__init__(self._told())

    def _told(self) -> str:
        lines = [f"{self.title}: {self.detail}" if self.detail and not self.errors else self.title]
        lines += [f"  {error['pointer'] or '(body)'}: {error['detail']}" for error in self.errors]
        advice = ADVICE.get(self.type.rpartition(":")[2])
        return "\n".join([*lines, advice] if advice else lines)


class Unavailable(Problem):
    """The queue is full or does not answer; nothing is known to have been accepted. Try again in ``retry_after`` seconds."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float = 0.0) -> None:
        super().__init__(status, problem)
        self.retry_after = retry_after


class ServiceAway(TimeoutError):
    """The service was away for too long while a job was waited for; the job goes on."""


def problem_of(answer: requests.Response) -> Problem:
    """What an answer of 400 or more tells."""
    body = _object(answer) or _foreign(answer)
    if answer.status_code in PASSING:
        return Unavailable(answer.status_code, body, _retry_after(answer))
    return Problem(answer.status_code, body)


def told_by(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer that is no error. Raises Problem for anything else."""
    body = _object(answer)
    if body is None:
        raise Problem(answer.status_code, _foreign(answer))
    return body


def _object(answer: requests.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _foreign(answer: requests.Response) -> dict[str, Any]:
    title = f"HTTP {answer.status_code} from {answer.url[:200]}, and not from mldeploy"
    return {"title": title, "detail": " ".join(answer.text[:200].split())}


def _retry_after(answer: requests.Response) -> float:
    """Seconds. A date instead, as a proxy may send it, counts as none."""
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else 0.0
