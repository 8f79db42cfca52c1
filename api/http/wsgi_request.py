"""A request that comes from a WSGI server."""

import asyncio
from collections.abc import Callable

from flask import Request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from api.http.context import ApiContext
from api.http.loop_thread import WaitingThread
from api.server.body import BodyCut, BodyTooLarge
from api.server.headers import Headers
from api.server.memory_budget import Room
from api.service import Service
from auth.loopback import is_loopback

DISCONNECTED = "mldeploy.gone"  # key in the WSGI environment: returns a future that is done when the client has disconnected
BODY_ERROR = "mldeploy.body_failed"  # key in the WSGI environment: the error that reading the body raised


def context_of(request: Request, service: Service, loop: asyncio.AbstractEventLoop) -> ApiContext:
    headers = Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()])
    address = request.remote_addr or ""
    return ApiContext(
        service,
        request.method,
        request.path,
        request.query_string.decode("latin-1"),
        headers,
        request.environ.get(DISCONNECTED) or _never_disconnects(loop),
        address,
        is_local=not address or is_loopback(address),  # a Unix socket has no address
        extra_headers=service.cors.headers(request.method, headers),
    )


def _never_disconnects(loop: asyncio.AbstractEventLoop) -> Callable[[], "asyncio.Future[None]"]:
    """A WSGI server does not report that a client has disconnected."""
    return loop.create_future


class WsgiBody:
    """A body that the waiting thread reads on demand."""

    def __init__(self, request: Request, thread: WaitingThread) -> None:
        self._request = request
        self._thread = thread
        self._failed: Exception | None = request.environ.get(BODY_ERROR)
        self._taken: tuple[Room, str, int] | None = None

    @property
    def declared(self) -> int | None:
        is_chunked = "chunked" in self._request.headers.get("Transfer-Encoding", "").lower()
        return None if is_chunked or self._failed else self._request.content_length or 0

    async def read(self, room: Room, caller: str, max_bytes: int) -> bytes:
        if self._failed:
            raise self._failed
        if self.declared is not None and self.declared > max_bytes:
            raise BodyTooLarge
        size = max_bytes if self.declared is None else self.declared
        room.take(caller, size)
        self._taken = room, caller, size
        return await self._thread.run(self._read)

    def release(self) -> None:
        if self._taken:
            room, caller, size = self._taken
            room.give(caller, size)
            self._taken = None

    def _read(self) -> bytes:
        try:
            return self._request.get_data()
        except RequestEntityTooLarge:
            raise BodyTooLarge from None
        except (ClientDisconnected, OSError):
            raise BodyCut("the body did not come whole") from None
