"""Hosts that did not answer: they are left alone for a while, so that those who wait for them hold up nobody else's webhooks."""

import time
from collections.abc import Callable

FIRST, LONGEST = 60.0, 600.0  # seconds; each further silence is twice as long
MAX_HOSTS = 10_000


class HostBackoff:
    """Of one process. To be used in several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, float]] = {}  # host -> until when, and for how long

    def left(self, host: str) -> float:
        """Seconds for which this host is still to be left alone; 0 for most."""
        until, _ = self._until.get(host, (0.0, 0.0))
        return max(0.0, until - self._clock())

    def heard(self, host: str) -> None:
        self._until.pop(host, None)

    def not_heard(self, host: str) -> None:
        now = self._clock()
        until, lasted = self._until.get(host, (0.0, 0.0))
        if until > now:
            return  # another thread has just said so
        if len(self._until) >= MAX_HOSTS:
            self._until = {host: known for host, known in self._until.items() if known[0] > now}
        lasts = min(LONGEST, 2 * lasted) if lasted else FIRST
        self._until[host] = now + lasts, lasts
