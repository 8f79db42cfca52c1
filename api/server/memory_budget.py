"""Limits the bytes of request bodies in memory, in total and per caller."""

from collections import Counter


class NoRoom(Exception):
    """The limit is reached, in total or for this caller."""


class Room:
    """All methods must be called on the same event loop. Bytes count when they arrive, not when they are declared."""

    def __init__(self, total: int, share: int) -> None:
        self._free = total
        self._share = share
        self._taken = Counter[str]()

    def take(self, caller: str, size: int) -> None:
        """Reserves bytes for a caller. Raises NoRoom."""
        if self._taken[caller] + size > self._share:
            raise NoRoom("Too much is being received from this caller; send it again later.")
        if size > self._free:
            raise NoRoom("Too much is being received already; send it again later.")
        if size:
            self._free -= size
            self._taken[caller] += size

    def give(self, caller: str, size: int) -> None:
        self._free += size
        self._taken[caller] -= size
        if not self._taken[caller]:
            del self._taken[caller]
