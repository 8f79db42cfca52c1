"""Pauses deliveries to hosts that do not respond, so that waiting for them does not delay other webhooks."""

import time
from collections.abc import Callable

FIRST_PAUSE, MAX_PAUSE = 60.0, 600.0  # seconds; the pause doubles with each further failure
MAX_HOSTS = 10_000


class HostBackoff:
    """The state of one process. Its methods may be called from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, float]] = {}  # host -> end and length of its pause

    def remaining(self, host: str) -> float:
        """Seconds until the host's pause is over; 0 without a pause."""
        until, _ = self._until.get(host, (0.0, 0.0))
        return max(0.0, until - self._clock())

    def record_response(self, host: str) -> None:
        self._until.pop(host, None)

    def record_silence(self, host: str) -> None:
        now = self._clock()
        until, previous = self._until.get(host, (0.0, 0.0))
        if until > now:
            return  # another thread has recorded it already
        if len(self._until) >= MAX_HOSTS:
            self._until = {host: known for host, known in self._until.items() if known[0] > now}
        pause = min(MAX_PAUSE, 2 * previous) if previous else FIRST_PAUSE
        self._until[host] = now + pause, pause
