"""How many bytes of requests may be in memory at once, and how many of them one caller's."""

from collections import Counter


class NoRoom(Exception):
    """As much is being received as may be: in all, or from this caller."""


class Room:
    """To be used on one event loop. What counts is what has arrived, not what was declared."""

    def __init__(self, total: int, share: int) -> None:
        self._free = total
        self._share = share
        self._taken = Counter[str]()

    def take(self, caller: str, size: int) -> None:
        """Raises NoRoom."""
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
