"""All connections of this process: their limit, and which of them is closed in favour of a new one.

A connection is opening (no complete head has arrived since it was made, or since its last response), idle, receiving (a body that
a view waits for), or at work. Connections at work are never closed for others. Of the rest, opening ones are closed first, then
idle ones, then receiving ones, and the oldest of each phase first. A new or just answered connection has a grace period for its
first byte while an older opening or idle one can be closed instead.
"""

import asyncio
import ipaddress
import math
from enum import Enum
from itertools import islice
from typing import Protocol

from api.server.limits import Limits


class Phase(Enum):
    OPENING = "opening"
    IDLE = "idle"
    RECEIVING = "receiving"
    AT_WORK = "at work"


CANDIDATES = 16  # the oldest of a phase; the one whose address has the most connections is closed
FIRST_BYTE_GRACE = 1.0  # seconds for the first byte
CLOSABLE_PHASES = (Phase.OPENING, Phase.IDLE, Phase.RECEIVING)
Quiet = dict[Phase, "dict[Member, None]"]


class Peer:
    """One address and its connections."""

    __slots__ = ("count", "quiet")

    def __init__(self) -> None:
        self.count = 0
        self.quiet: Quiet = {phase: {} for phase in CLOSABLE_PHASES}


class Member(Protocol):
    """A connection. ``since``: when its phase began; ``over``: it exceeds the limit, and gets health checks answered only."""

    address: str
    peer: Peer
    phase: Phase
    since: float
    over: bool

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def time_out(self) -> None: ...
    def unsent(self) -> int: ...


class Connections:
    """All methods must be called on the same event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._peers: dict[str, Peer] = {}
        self._over_limit = 0
        self.draining = False
        self.all: set[Member] = set()
        self.quiet: Quiet = {phase: {} for phase in CLOSABLE_PHASES}  # each in the order of ``since``

    def add(self, member: Member) -> bool:
        """Adds an opening connection, and closes another one if there are too many. Returns False if even the reserve for health
        checks is used up."""
        peer = self._peers.get(member.address) or Peer()
        if peer.count >= self._limits.per_address:
            member.over = not self._close_one(peer.quiet)
        elif len(self.all) >= self._limits.connections:
            member.over = not self._close_one(self.quiet)
        if member.over and self._over_limit >= self._limits.reserve:
            return False
        self._over_limit += member.over
        self._peers[member.address] = member.peer = peer
        peer.count += 1
        self.all.add(member)
        member.phase = Phase.AT_WORK
        self.move(member, Phase.OPENING)
        return True

    def move(self, member: Member, phase: Phase) -> None:
        if member.phase is not Phase.AT_WORK:
            self.quiet[member.phase].pop(member, None)
            member.peer.quiet[member.phase].pop(member, None)
        member.phase = phase
        if phase is not Phase.AT_WORK:
            self.quiet[phase][member] = member.peer.quiet[phase][member] = None

    def remove(self, member: Member) -> None:
        """Removes a connection; a second call does nothing."""
        if member not in self.all:
            return
        self.move(member, Phase.AT_WORK)
        self.all.discard(member)
        self._over_limit -= member.over
        member.peer.count -= 1
        if not member.peer.count:
            self._peers.pop(member.address, None)

    def drain(self) -> None:
        """Closes every connection after its next response, or at once if no response is due."""
        self.draining = True
        for phase in (Phase.OPENING, Phase.IDLE):
            for member in list(self.quiet[phase]):
                member.close()

    def _close_one(self, quiet: Quiet) -> bool:
        """Closes one connection. Returns False if there was none to close."""
        grace_start = asyncio.get_running_loop().time() - FIRST_BYTE_GRACE
        order = [(Phase.OPENING, grace_start), (Phase.IDLE, grace_start), *((phase, math.inf) for phase in CLOSABLE_PHASES)]
        for phase, latest in order:
            oldest = (member for member in islice(quiet[phase], CANDIDATES) if member.since <= latest)
            member = max(oldest, key=lambda candidate: candidate.peer.count, default=None)
            if member:
                self.remove(member)
                if member.unsent():
                    member.abort()  # it is no longer counted, so it must not stay open until its client has read everything
                else:
                    member.close()
                return True
        return False


def address_of(peer: object) -> str:
    """The address of a socket's peer. An IPv6 address becomes its /64 network, which mostly belongs to one host."""
    text = str(peer[0]) if isinstance(peer, tuple) else ""
    if ":" not in text:
        return text
    address = ipaddress.IPv6Address(text.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
