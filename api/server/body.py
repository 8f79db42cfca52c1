"""The body of a request, as it arrives."""

import asyncio
from collections.abc import Callable

from api.server.memory_budget import NoRoom, Room


class BodyTooLarge(Exception):
    """The body has more bytes than the limit."""


class SlowBody(Exception):
    """The body arrives more slowly than the minimum pace."""


class BodyCut(Exception):
    """The connection ended, or invalid HTTP arrived, before the body was complete."""


class Body:
    """``begin`` is called when ``read`` starts to wait for data. ``unread``: bytes received before ``read`` was called."""

    __slots__ = (
        "_begin",
        "_caller",
        "_data",
        "_failure",
        "_max_bytes",
        "_room",
        "_taken",
        "_waiter",
        "complete",
        "declared",
        "received",
    )

    def __init__(self, declared: int | None, begin: Callable[["Body"], None]) -> None:
        self.declared = declared
        self.received = 0
        self.complete = False
        self._begin = begin
        self._data: bytes | bytearray = b""
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: Room | None = None
        self._caller = ""
        self._max_bytes = 0
        self._taken = 0

    @property
    def ended(self) -> bool:
        return self.complete or self._failure is not None

    @property
    def unread(self) -> int:
        return 0 if self._room else self.received

    async def read(self, room: Room, caller: str, max_bytes: int) -> bytes:
        """Reads the whole body; to be called once. The bytes count against ``room`` until ``release``. Raises BodyTooLarge,
        NoRoom, SlowBody or BodyCut."""
        self._room, self._caller, self._max_bytes = room, caller, max_bytes
        if self.declared is not None and self.declared > max_bytes:
            self.fail(BodyTooLarge())
        self._count(len(self._data))
        if not self.complete and not self._failure:
            self._waiter = asyncio.get_running_loop().create_future()
            self._begin(self)
            await self._waiter
        if self._failure:
            raise self._failure
        data, self._data = self._data, b""
        return bytes(data)

    def release(self) -> None:
        """Returns the bytes to the memory budget. Data that arrive later are dropped."""
        if self._room and self._taken:
            self._room.give(self._caller, self._taken)
        self._taken, self._data = 0, b""
        self._failure = self._failure or BodyCut()

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if self._failure:
            return
        if not self._data:
            self._data = data
        elif isinstance(self._data, bytearray):
            self._data += data
        else:
            self._data = bytearray(self._data) + data
        if self._room:
            self._count(len(data))

    def end(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Makes ``read`` raise the error, unless the body is complete."""
        if not self.complete and self._failure is None:
            self._failure, self._data = error, b""
            self._wake()

    def _count(self, size: int) -> None:
        if self.received > self._max_bytes:
            self._end_with(BodyTooLarge())
            return
        assert self._room is not None
        try:
            self._room.take(self._caller, size)
            self._taken += size
        except NoRoom as error:
            self._end_with(error)

    def _end_with(self, error: Exception) -> None:
        self._failure, self._data = self._failure or error, b""
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
