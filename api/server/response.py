"""Encodes responses as bytes."""

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
SMALL_BODY = 65_536  # bytes; a smaller body is copied behind the head and sent with it

HeaderPairs = list[tuple[str, str]]


class Response(NamedTuple):
    """A complete response, as views return it."""

    body: bytes
    status: int
    headers: HeaderPairs


class Stream(NamedTuple):
    """A response whose body is sent in chunks."""

    chunks: AsyncGenerator[bytes, None]
    headers: HeaderPairs
    status: int = 200


class BadHeader(ValueError):
    """A header of a response contains a line break."""


def encode_head(status: int, headers: HeaderPairs, more: str) -> bytes:
    """The status line and the headers. ``more``: further header lines, each with its line end. Raises BadHeader."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise BadHeader(lines)
    return f"{_status_line(status)}{_date(int(time.time()))}{lines}{more}\r\n".encode()


def encode(response: Response, method: str, more: str) -> tuple[bytes, ...]:
    """A response with its body, which is left out for HEAD. Raises BadHeader."""
    if response.status in WITHOUT_BODY:
        return (encode_head(response.status, response.headers, more),)
    start = encode_head(response.status, response.headers, f"Content-Length: {len(response.body)}\r\n{more}")
    if method == "HEAD":
        return (start,)
    return (start + response.body,) if len(response.body) < SMALL_BODY else (start, response.body)


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(100)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {responses.get(status, '')}\r\n"


@lru_cache(1)
def _date(second: int) -> str:
    return f"Date: {format_date_time(second)}\r\n"
