"""While others read, only so many writes are taken in at once, and the rest wait without costing anything. A crowd of them then
delays no read; how many are committed together is theirs to decide again when nobody reads."""

import asyncio
from collections import deque

MAX_BESIDE_READS = 32
MOST = 1000
LATELY = 0.5  # seconds since the last read


class WriteThrottle:
    """To be used on one event loop."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_read = float("-inf")

    def note_read(self) -> None:
        self._last_read = asyncio.get_running_loop().time()

    async def take(self) -> "Turn":
        """In the order of arrival."""
        if self._taken < self._most() and not self._waiting:
            self._taken += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        return Turn(self)

    def give(self) -> None:
        self._taken -= 1
        most = self._most()
        while self._waiting and self._taken < most:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def _most(self) -> int:
        return MAX_BESIDE_READS if asyncio.get_running_loop().time() - self._last_read < LATELY else MOST


class Turn:
    """Ends once, when the job is accepted or the request is answered."""

    __slots__ = ("_turns",)

    def __init__(self, turns: WriteThrottle) -> None:
        self._turns: WriteThrottle | None = turns

    def end(self) -> None:
        if self._turns:
            self._turns.give()
            self._turns = None
