"""One request, as every view finds it: ``api_context()``. Set by the server, in the context of the request's own task."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from msgspec import Struct

from api.http.write_throttle import Turn
from api.server.headers import Headers
from api.service import Service
from auth.keys import Key

P = ParamSpec("P")
T = TypeVar("T")


class ApiContext(Struct):
    """``body`` is whole; ``gone`` is done when the client has hung up, whose ``address`` is known; ``is_near``: as far as
    is known it is on this machine. ``key`` is the caller's, none
    while no key was ever made; ``notes`` are headers for whatever is answered. ``repeatable``: the hash of the Idempotency-Key,
    ``fingerprint`` that of the request."""

    service: Service
    method: str
    path: str
    query: str
    headers: Headers
    gone: Callable[[], "asyncio.Future[None]"]
    address: str = ""
    is_near: bool = True
    body: bytes = b""
    turn: Turn | None = None
    key: Key | None = None
    notes: list[tuple[str, str]] = []
    repeatable: str = ""
    fingerprint: str = ""

    def end_turn(self) -> None:
        """Of its write, which others may take now. May be called twice; on the event loop."""
        if self.turn:
            self.turn.end()

    @property
    def caller(self) -> str:
        """The id of the API key; empty without keys."""
        return self.key.id if self.key else ""

    @property
    def is_admin(self) -> bool:
        """Without keys everybody is."""
        return self.key is None or self.key.may("admin")


_current: ContextVar[ApiContext] = ContextVar("api_context")

api_context = _current.get
begin = _current.set
end = _current.reset


def service() -> Service:
    return api_context().service


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what would hold the event loop up in a thread, in the context of this request."""
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(service().threads, call)
