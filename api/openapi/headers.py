"""The headers of requests and responses."""

from typing import Any

_SECONDS = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}

# Of requests. Headers that a standard says to ignore if they are invalid have no constraints here either.
REQUEST: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "a word of the client's own for this request: sent again with the same one, the request gives the same "
        "job, and with another body or query it is refused. Of 1 to 255 printable ASCII characters",
        "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    },
    "Prefer": {
        "description": "`wait=5`: answer with the finished job if it is done within so many seconds, up to 60; `respond-async`: "
        "at once. With both, 202 when the wait runs out. What cannot be met is no error (RFC 7240)",
        "schema": _TEXT,
        "example": "wait=5",
    },
    "traceparent": {
        "description": "carried to the log of the worker (W3C Trace Context); what is none is left out",
        "schema": _TEXT,
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
    "Last-Event-ID": {
        "description": "with `Accept: text/event-stream`: the id of the event seen last; what was seen is not sent again",
        "schema": _TEXT,
    },
}
# Of routes that wait for the result.
WAITING: dict[str, dict[str, Any]] = {
    "Prefer": REQUEST["Prefer"] | {"description": "`wait=5`: wait so many seconds for the prediction and no longer"},
}
SUBMISSION = ("Idempotency-Key", "Prefer", "traceparent")

# Of responses.
RESPONSE: dict[str, dict[str, Any]] = {
    "Location": {
        "description": "the URL of the job",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "pattern": "^/result/[0-9a-f]{40}$"},
    },
    "Location-of-job": {
        "description": "the URL of the job that the problem is about",
        "schema": {"type": "string", "format": "uri-reference", "pattern": "^/result/[0-9a-f]{40}$"},
    },
    "Retry-After": {
        "description": "seconds after which to try again",
        "required": True,
        "schema": _SECONDS,
    },
    "WWW-Authenticate": {"description": "how to send a key", "required": True, "schema": _TEXT},
    "Preference-Applied": {"description": "which of the preferences was met (RFC 7240)", "schema": _TEXT},
    "Idempotency-Replayed": {"description": "`true`: this job was accepted before", "schema": {"const": "true"}},
    "RateLimit-Policy": {"description": 'what the key may: `"default";q=100;w=60` is 100 requests in 60 s', "schema": _TEXT},
    "RateLimit": {"description": 'what is left of it: `"default";r=50;t=30` is 50 in the next 30 s', "schema": _TEXT},
}
RATE_LIMIT = ("RateLimit-Policy", "RateLimit")
