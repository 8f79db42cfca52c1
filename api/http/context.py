"""The current request: views call ``api_context()``. The server sets it in the context of the request's own task."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from msgspec import Struct

from api.http.write_throttle import WriteSlot
from api.server.headers import Headers
from api.service import Service
from auth.keys import Key

P = ParamSpec("P")
T = TypeVar("T")


class ApiContext(Struct):
    """``body`` is complete. ``disconnected`` returns a future that is done when the client has disconnected. ``is_local``: the
    client is on this machine as far as is known. ``key`` is the caller's, None while no key was ever created. ``extra_headers``
    are added to every response. ``idempotency_hash`` is the hash of the Idempotency-Key, ``fingerprint`` that of the request."""

    service: Service
    method: str
    path: str
    query: str
    headers: Headers
    disconnected: Callable[[], "asyncio.Future[None]"]
    address: str = ""
    is_local: bool = True
    body: bytes = b""
    write_slot: WriteSlot | None = None
    key: Key | None = None
    extra_headers: list[tuple[str, str]] = []
    idempotency_hash: str = ""
    fingerprint: str = ""

    def release_write_slot(self) -> None:
        """Releases the slot of this write for others. May be called twice, on the event loop."""
        if self.write_slot:
            self.write_slot.release()

    @property
    def caller(self) -> str:
        """The id of the API key; empty without keys."""
        return self.key.id if self.key else ""

    @property
    def is_admin(self) -> bool:
        """Without keys every caller is an admin."""
        return self.key is None or self.key.may("admin")


_current: ContextVar[ApiContext] = ContextVar("api_context")

api_context = _current.get
set_context = _current.set
reset_context = _current.reset


def service() -> Service:
    return api_context().service


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a blocking function in a thread, in the context of this request."""
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(service().threads, call)
