"""Answers as bytes."""

import time
from collections.abc import AsyncGenerator
from functools import lru_cache
from http.client import responses
from typing import NamedTuple
from wsgiref.handlers import format_date_time

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = "Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
WITHOUT_BODY = (204, 304)
SMALL = 65_536  # bytes that are rather copied than sent by themselves

HeaderPairs = list[tuple[str, str]]


class Response(NamedTuple):
    """What goes over the wire, as a view of Flask's returns it."""

    body: bytes
    status: int
    headers: HeaderPairs


class Stream(NamedTuple):
    """An answer whose body comes bit by bit."""

    chunks: AsyncGenerator[bytes, None]
    headers: HeaderPairs
    status: int = 200


class BadHeader(ValueError):
    """A header of an answer has a line end in it."""


def head(status: int, headers: HeaderPairs, more: str) -> bytes:
    """All before the body. ``more``: header lines, each with its end. Raises BadHeader."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise BadHeader(lines)
    return f"{_status_line(status)}{_date(int(time.time()))}{lines}{more}\r\n".encode()


def whole(answer: Response, method: str, more: str) -> tuple[bytes, ...]:
    """An answer with its body, which a HEAD is not sent. Raises BadHeader."""
    if answer.status in WITHOUT_BODY:
        return (head(answer.status, answer.headers, more),)
    start = head(answer.status, answer.headers, f"Content-Length: {len(answer.body)}\r\n{more}")
    if method == "HEAD":
        return (start,)
    return (start + answer.body,) if len(answer.body) < SMALL else (start, answer.body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(100)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {responses.get(status, '')}\r\n"


@lru_cache(1)
def _date(second: int) -> str:
    return f"Date: {format_date_time(second)}\r\n"
