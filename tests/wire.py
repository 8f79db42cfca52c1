"""HTTP/1.1 over a bare socket, byte by byte as a test wants it."""

import json
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"


class Response(NamedTuple):
    """Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """Return the last word of the problem's type."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return str(problem["type"].rpartition(":")[2])

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Wire:
    """One connection. ``address`` is the address of the client, any of 127.0.0.0/8."""

    def __init__(self, port: int, address: str = "127.0.0.1", timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> "Wire":
        for part in parts:
            self.socket.sendall(part)
        return self

    def read(self, head_only: bool = False) -> Response:
        """Read the next whole response; ``head_only`` for one to HEAD. Raises EOFError if the connection ends before it."""
        head, _, self._received = self._until(lambda: b"\r\n\r\n" in self._received).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split(" ")[1])
        body = b"" if head_only or status < 200 or status in (204, 304) else self._body(headers)
        return Response(status, headers, body)

    def read_all(self) -> list[Response]:
        """Read all responses until the connection ends."""
        found = []
        while not self.ended():
            found.append(self.read())
        return found

    def ended(self) -> bool:
        """Return whether the server closes the connection before it sends more."""
        try:
            self._until(lambda: self._received)
        except (EOFError, ConnectionError):
            return True
        return False

    def is_open(self) -> bool:
        """Return whether the server has not closed it yet."""
        return self._seen() != b""

    def has_something(self) -> bool:
        """Return whether the server has sent something or closed it."""
        return self._seen() is not None

    def received_by_now(self) -> bytes:
        """Return what has arrived and was not read, without reading it."""
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            with suppress(BlockingIOError):
                while part := self.socket.recv(65536):
                    self._received += part
        finally:
            self.socket.settimeout(timeout)
        return self._received

    def _seen(self) -> bytes | None:
        """Return what can be read at once: empty for the end, None if nothing has arrived."""
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""
        finally:
            self.socket.settimeout(timeout)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(self._chunks())
        if "content-length" not in headers:
            return self._rest()
        length = int(headers["content-length"])
        self._until_there_are(length)
        return self._take(length)

    def _until_there_are(self, size: int) -> None:
        self._until(lambda: len(self._received) >= size)

    def _chunks(self) -> Iterable[bytes]:
        while True:
            size = int(self._until(lambda: b"\r\n" in self._received).partition(b"\r\n")[0], 16)
            self._take(self._received.index(b"\r\n") + 2)
            self._until_there_are(size + 2)
            chunk = self._take(size + 2)[:size]
            if not chunk:
                return
            yield chunk

    def _rest(self) -> bytes:
        while part := self.socket.recv(65536):
            self._received += part
        return self._take(len(self._received))

    def _take(self, size: int) -> bytes:
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _until(self, met: Callable[[], object]) -> bytes:
        while not met():
            part = self.socket.recv(65536)
            if not part:
                raise EOFError(self._received)
            self._received += part
        return self._received


def request(method: str, target: str, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of a request with Host, and Content-Length if there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_answered(port: int, address: str = "127.0.0.1", timeout: float = 5.0) -> bool:
    """Return whether a new client gets a response of the health check."""
    with Wire(port, address, timeout) as wire:
        return wire.send(LIVE).read().status == 200
