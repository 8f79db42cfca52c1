"""Limits concurrent writes to MAX_BESIDE_READS while others read, so that many writes do not delay reads. Without recent reads
the limit is MAX_WRITES, which allows larger batches."""

import asyncio
from collections import deque

MAX_BESIDE_READS = 32
MAX_WRITES = 1000
READ_WINDOW = 0.5  # seconds after a read during which the lower limit holds


class WriteThrottle:
    """All methods must be called on the same event loop."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_read = float("-inf")

    def note_read(self) -> None:
        self._last_read = asyncio.get_running_loop().time()

    async def acquire(self) -> "WriteSlot":
        """Waits for a slot, in the order of arrival."""
        if self._taken < self._limit() and not self._waiting:
            self._taken += 1
        else:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return WriteSlot(self)

    def release_one(self) -> None:
        self._taken -= 1
        limit = self._limit()
        while self._waiting and self._taken < limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._taken += 1
                waiter.set_result(None)

    def _limit(self) -> int:
        return MAX_BESIDE_READS if asyncio.get_running_loop().time() - self._last_read < READ_WINDOW else MAX_WRITES


class WriteSlot:
    """Permission for one write, released when the job is accepted or the response is ready. A second release does nothing."""

    __slots__ = ("_throttle",)

    def __init__(self, throttle: WriteThrottle) -> None:
        self._throttle: WriteThrottle | None = throttle

    def release(self) -> None:
        if self._throttle:
            self._throttle.release_one()
            self._throttle = None
