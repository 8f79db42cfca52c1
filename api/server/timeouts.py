"""Closes connections that take too long. All are checked once a second, which is cheaper than a timer for each."""

import asyncio

from api.server.body import Body, SlowBody
from api.server.connections import Connections, Member, Phase
from api.server.limits import Limits

CHECK_INTERVAL = 1.0  # seconds


class Deadlines:
    """All methods must be called on the same event loop."""

    def __init__(self, limits: Limits, connections: Connections) -> None:
        self._limits = limits
        self._connections = connections
        self._bodies: dict[Body, float] = {}  # bodies that a view waits for: since when
        self._unread: dict[Member, tuple[float, int]] = {}  # connections with unsent data: since when, and how many bytes then
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(CHECK_INTERVAL, self._check)

    def watch_body(self, body: Body) -> None:
        self._bodies[body] = self._loop.time()

    def watch_reader(self, connection: Member) -> None:
        self._unread[connection] = self._loop.time(), connection.unsent()

    def forget_reader(self, connection: Member) -> None:
        self._unread.pop(connection, None)

    def close(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        self._timer = self._loop.call_later(CHECK_INTERVAL, self._check)
        now = self._loop.time()
        self._end_quiet(Phase.OPENING, now - self._limits.header_timeout)
        self._end_quiet(Phase.IDLE, now - self._limits.idle_timeout)
        self._end_slow_bodies(now)
        self._end_slow_readers(now)

    def _end_quiet(self, phase: Phase, before: float) -> None:
        for connection in list(self._connections.quiet[phase]):
            if connection.since > before:
                return
            connection.time_out()

    def _end_slow_bodies(self, now: float) -> None:
        for body, since in list(self._bodies.items()):
            late = now - since - self._limits.grace
            if body.ended:
                del self._bodies[body]
            elif late > 0 and body.received < late * self._limits.body_pace:
                body.fail(SlowBody(f"after {now - since:.0f} s {body.received:,} bytes had arrived"))

    def _end_slow_readers(self, now: float) -> None:
        """Aborts clients that read too slowly, and the longest waiting ones while all together exceed ``limits.unread``."""
        window, total = self._limits.read_window, 0
        for connection, (since, unsent_then) in list(self._unread.items()):
            unsent = connection.unsent()
            total += unsent
            if now - since < window:
                continue
            if unsent_then - unsent < window * self._limits.body_pace:
                connection.abort()
            else:
                self._unread[connection] = now, unsent
        for connection in sorted(self._unread, key=lambda each: self._unread[each][0]):
            if total <= self._limits.unread:
                return
            total -= connection.unsent()
            connection.abort()
