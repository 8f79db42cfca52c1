"""The problems of a route, and the response components that describe them."""

from http import HTTPStatus
from typing import Any

from api.http.operation import Operation
from api.http.problems import PROBLEMS, RETRYABLE
from api.openapi import headers
from jobs.failures import TYPE

READ_METHODS = ("GET", "HEAD")

CALLER_PROBLEMS = ("unauthorized", "foreign-host", "foreign-origin", "rate-limited", "unavailable", "too-many-connections")
BODY_PROBLEMS = ("malformed-input", "slow-body", "body-too-large", "too-many-uploads")
SUBMISSION_PROBLEMS = (
    "bad-idempotency-key",
    "idempotency-key-reused",
    "forgotten-job",
    "lane-full",
    "full",
    "job-too-large",
    "invalid-input",
)


def codes_of(operation: Operation, method: str, has_path_parameters: bool) -> list[str]:
    """The codes of an operation's problems, in the order of PROBLEMS."""
    codes = {*operation.problems}
    if operation.access != "open":
        codes |= {*CALLER_PROBLEMS}
    if operation.access not in ("any", "open", "public"):
        codes.add("forbidden")
    if method not in READ_METHODS:
        codes |= {*BODY_PROBLEMS}
    if operation.takes:
        codes.add("unsupported-media-type")
    if operation.query:
        codes.add("invalid-input")
    if operation.submits:
        codes |= {*SUBMISSION_PROBLEMS}
    if has_path_parameters:
        codes.add("not-found")  # an encoded / in a parameter makes another path
    return [code for code in PROBLEMS if code in codes]


class ProblemResponses:
    """Makes responses, and collects the ``components`` that routes share."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def responses(self, codes: list[str]) -> dict[str, Any]:
        """Response references by status."""
        by_status: dict[int, list[str]] = {}
        for code in codes:
            by_status.setdefault(PROBLEMS[code][0], []).append(code)
        return {str(status): self._response(status, by_status[status]) for status in sorted(by_status)}

    def _response(self, status: int, codes: list[str]) -> dict[str, str]:
        name = f"{status}.{'.'.join(codes)}"
        self.components.setdefault(name, _described(status, codes))
        return {"$ref": f"#/components/responses/{name}"}


def _described(status: int, codes: list[str]) -> dict[str, Any]:
    description = "; ".join(f"{PROBLEMS[code][1]} (`{code}`)" for code in codes)
    types = {"enum": [TYPE + code for code in codes]}
    narrowed = {"properties": {"type": types, "status": {"const": status}}}
    return {
        "description": f"{description}.",
        "headers": {
            header: {"$ref": f"#/components/headers/{component}"} for header, component in _headers(status, codes).items()
        },
        "content": {"application/problem+json": {"schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]}}},
    }


def _headers(status: int, codes: list[str]) -> dict[str, str]:
    """The headers of a response, each with its component."""
    names = ["Retry-After"] if status in RETRYABLE else ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    if "rate-limited" in codes:
        names += headers.RATE_LIMIT
    found = {name: name for name in names}
    return found | ({"Location": "Location-of-job"} if {"not-in-time", "prediction-failed"} & set(codes) else {})
