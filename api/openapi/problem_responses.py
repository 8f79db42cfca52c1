"""Which problems a route can answer with, and the components that tell of them."""

from http import HTTPStatus
from typing import Any

from api.http.operation import Operation
from api.http.problems import PROBLEMS, TRY_AGAIN
from api.openapi import headers
from jobs.failures import TYPE

READS = ("GET", "HEAD")

OF_CALLERS = ("unauthorized", "foreign-host", "foreign-origin", "rate-limited", "unavailable", "too-many-connections")
OF_BODIES = ("malformed-input", "slow-body", "body-too-large", "too-many-uploads")
OF_SUBMISSIONS = (
    "bad-idempotency-key",
    "idempotency-key-reused",
    "forgotten-job",
    "lane-full",
    "full",
    "job-too-large",
    "invalid-input",
)


def codes_of(operation: Operation, method: str, has_path_parameters: bool) -> list[str]:
    """In the order of the table of problems."""
    codes = {*operation.problems}
    if operation.access != "open":
        codes |= {*OF_CALLERS}
    if operation.access not in ("any", "open", "public"):
        codes.add("forbidden")
    if method not in READS:
        codes |= {*OF_BODIES}
    if operation.takes:
        codes.add("unsupported-media-type")
    if operation.query:
        codes.add("invalid-input")
    if operation.submits:
        codes |= {*OF_SUBMISSIONS}
    if has_path_parameters:
        codes.add("not-found")  # a path with an encoded / is another one
    return [code for code in PROBLEMS if code in codes]


class Faults:
    """Collects ``components`` while it is asked for responses: routes share them."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def responses(self, codes: list[str]) -> dict[str, Any]:
        """By status."""
        by_status: dict[int, list[str]] = {}
        for code in codes:
            by_status.setdefault(PROBLEMS[code][0], []).append(code)
        return {str(status): self._response(status, by_status[status]) for status in sorted(by_status)}

    def _response(self, status: int, codes: list[str]) -> dict[str, str]:
        name = f"{status}.{'.'.join(codes)}"
        self.components.setdefault(name, _described(status, codes))
        return {"$ref": f"#/components/responses/{name}"}


def _described(status: int, codes: list[str]) -> dict[str, Any]:
    told = "; ".join(f"{PROBLEMS[code][1]} (`{code}`)" for code in codes)
    types = {"enum": [TYPE + code for code in codes]}
    narrowed = {"properties": {"type": types, "status": {"const": status}}}
    return {
        "description": f"{told}.",
        "headers": {
            header: {"$ref": f"#/components/headers/{component}"} for header, component in _headers(status, codes).items()
        },
        "content": {"application/problem+json": {"schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]}}},
    }


def _headers(status: int, codes: list[str]) -> dict[str, str]:
    """Each with the component that tells of it."""
    names = ["Retry-After"] if status in TRY_AGAIN else ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    if "rate-limited" in codes:
        names += headers.OF_LIMITS
    found = {name: name for name in names}
    return found | ({"Location": "Location-of-job"} if {"not-in-time", "prediction-failed"} & set(codes) else {})
