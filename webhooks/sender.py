"""Sends one POST to an address that has been checked. It follows no redirect, and the time-out bounds all of it."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from webhooks.url import Target

TIMEOUT = 20.0  # seconds for the whole request
MAX_ERROR = 200  # characters
HEADERS = {"User-Agent": "mldeploy-webhooks", "Content-Type": "application/json", "Connection": "close"}


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` is None if there was no response; ``error`` then says why."""

    status: int | None
    error: str = ""


def send(
    target: Target, address: str, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext, timeout: float = TIMEOUT
) -> Reply:
    """Sends the request, and reads only the status and headers of the response."""
    deadline = time.monotonic() + timeout
    watchdog = None
    try:
        connection = socket.create_connection((address, target.port), timeout)
        with connection, Watchdog(connection, deadline - time.monotonic()) as watchdog:
            return Reply(_post(connection, target, headers, body, tls))
    except (OSError, http.client.HTTPException) as error:
        late = isinstance(error, TimeoutError) or (watchdog is not None and watchdog.has_fired)
        return failed(f"no answer within {timeout:g} s" if late else _describe(error, target))


def failed(why: str) -> Reply:
    return Reply(None, "".join(letter if letter.isprintable() else " " for letter in why)[:MAX_ERROR])


class Watchdog:
    """Shuts a connection down after ``seconds``: a socket's own time-out restarts with each byte that arrives."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._duplicate = connection.dup()  # remains valid when TLS takes the connection over
        self._timer = threading.Timer(max(0.0, seconds), self._shut_down)
        self._timer.daemon = True
        self.has_fired = False

    def __enter__(self) -> "Watchdog":
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        self._timer.join()
        self._duplicate.close()

    def _shut_down(self) -> None:
        self.has_fired = True
        with contextlib.suppress(OSError):
            self._duplicate.shutdown(socket.SHUT_RDWR)


def _post(connection: socket.socket, target: Target, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext) -> int:
    """The status. The certificate is verified for the target's host, not for the address."""
    with contextlib.closing(http.client.HTTPConnection(target.host, target.port)) as client:
        client.sock = tls.wrap_socket(connection, server_hostname=target.host) if target.scheme == "https" else connection
        client.request("POST", target.path_and_query, body, {**HEADERS, **headers, "Host": target.authority})
        with client.getresponse() as response:
            return response.status


def _describe(error: Exception, target: Target) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid for {target.host}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {target.host}: {error.reason or error}"
    if isinstance(error, http.client.HTTPException):
        return "the connection was closed without an answer, or the answer is not HTTP"
    return str(getattr(error, "strerror", None) or error)
