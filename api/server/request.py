"""One request: its head is complete, its body may still be arriving."""

import asyncio
from collections.abc import Callable
from urllib.parse import unquote

from httptools import HttpParserError, parse_url
from msgspec import Struct

from api.server.body import Body
from api.server.headers import Headers

CONTINUE = "100-continue"


class Request(Struct, eq=False):
    """``disconnected`` returns a future that is done when the client has disconnected. ``close``: it is the last request of its
    connection. ``over``: its connection exceeds the limit."""

    method: str
    path: str
    query: str
    headers: Headers
    body: Body
    address: str
    disconnected: Callable[[], "asyncio.Future[None]"]
    http10: bool = False
    close: bool = False
    over: bool = False


class BadRequest(ValueError):
    """Invalid or unsupported HTTP; ``code`` is the code of the problem."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def split_target(target: bytes, host: str | None) -> tuple[str, str]:
    """The unquoted path and the raw query. Raises BadRequest, also for an absolute URL whose host is not the one of the Host
    header (RFC 9112, section 3.2.2)."""
    if not target.startswith(b"/") and b"://" in target:
        try:
            url = parse_url(target)
        except HttpParserError as error:
            raise BadRequest("bad-request", f"the address cannot be read: {error}") from None
        place = target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        if host is not None and place.decode("ascii").lower() != host.lower():
            raise BadRequest("bad-request", "the address and the Host header name different hosts")
        path, query = url.path or b"/", url.query or b""
    else:
        path, _, query = target.partition(b"#")[0].partition(b"?")
    text = path.decode("ascii")
    return (unquote(text) if "%" in text else text), query.decode("ascii")


def check_head(headers: Headers, version: str, chunked: bool) -> int | None:
    """Checks what the parser accepts although another server may read it differently (request smuggling; RFC 9112, section 11.2).
    Returns the declared length of the body, None if it is chunked. Raises BadRequest."""
    if version not in ("1.1", "1.0"):
        raise BadRequest("bad-request", "HTTP/1.1 and HTTP/1.0 are taken")
    hosts = headers.count("host")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise BadRequest("bad-request", f"a request has one Host header, and this has {hosts}")
    host = headers.get("host")
    if host is not None and any(sign in host for sign in " \t,/@?#"):
        raise BadRequest("bad-request", "the Host header names no host")
    if "expect" in headers and (headers.get("expect") or "").lower() != CONTINUE:
        raise BadRequest("expectation-failed", f"the expectation that is met is {CONTINUE}")
    if chunked:
        if version == "1.0":
            raise BadRequest("bad-request", "HTTP/1.0 has no Transfer-Encoding")
        coding = headers.get("transfer-encoding") if headers.count("transfer-encoding") == 1 else None
        if coding is None or coding.strip().lower() != "chunked":
            raise BadRequest("bad-request", "the Transfer-Encoding that is taken is chunked")
        return None
    return int(headers.get("content-length") or 0)
