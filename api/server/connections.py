"""All connections of this process: how many there may be, and who gives way to others.

A connection is opening (no whole head has come since it was made, or since its last answer), idle, receiving (a body that
somebody waits for), or at work. Those at work are never cut for others; of the rest the opening ones give way first, then the
idle ones, then those that receive, and of each those that have been so for longest. Who has just come, or was just answered, has
a moment for the first byte while an opening or idle one can give way that has had it.
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


CANDIDATES = 16  # the longest so, of which one gives way whose address has most: a newcomer does not go for a crowd
MOMENT = 1.0  # seconds
GIVE_WAY = (Phase.OPENING, Phase.IDLE, Phase.RECEIVING)
Quiet = dict[Phase, "dict[Member, None]"]


class Peer:
    """One address and its connections."""

    __slots__ = ("count", "quiet")

    def __init__(self) -> None:
        self.count = 0
        self.quiet: Quiet = {phase: {} for phase in GIVE_WAY}


class Member(Protocol):
    """A connection as it is seen from here. ``since``: when its phase began; ``over``: it is one more than there may be."""

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
    """To be used on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._peers: dict[str, Peer] = {}
        self._over = 0
        self.draining = False
        self.all: set[Member] = set()
        self.quiet: Quiet = {phase: {} for phase in GIVE_WAY}  # each in the order of their coming

    def add(self, member: Member) -> bool:
        """As an opening one. Another gives way if there are too many. False: not even a health check has a place."""
        peer = self._peers.get(member.address) or Peer()
        if peer.count >= self._limits.per_address:
            member.over = not self._give_way(peer.quiet)
        elif len(self.all) >= self._limits.connections:
            member.over = not self._give_way(self.quiet)
        if member.over and self._over >= self._limits.reserve:
            return False
        self._over += member.over
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
        """May be called twice."""
        if member not in self.all:
            return
        self.move(member, Phase.AT_WORK)
        self.all.discard(member)
        self._over -= member.over
        member.peer.count -= 1
        if not member.peer.count:
            self._peers.pop(member.address, None)

    def drain(self) -> None:
        """Every connection ends with its next answer, or now if none is due."""
        self.draining = True
        for phase in (Phase.OPENING, Phase.IDLE):
            for member in list(self.quiet[phase]):
                member.close()

    def _give_way(self, quiet: Quiet) -> bool:
        """Whether one could be closed."""
        a_moment_ago = asyncio.get_running_loop().time() - MOMENT
        turns = [(Phase.OPENING, a_moment_ago), (Phase.IDLE, a_moment_ago), *((phase, math.inf) for phase in GIVE_WAY)]
        for phase, until in turns:
            oldest = (member for member in islice(quiet[phase], CANDIDATES) if member.since <= until)
            member = max(oldest, key=lambda candidate: candidate.peer.count, default=None)
            if member:
                self.remove(member)
                if member.unsent():
                    member.abort()  # it counts no more, so it must not stay open until its client has read
                else:
                    member.close()
                return True
        return False


def address_of(peer: object) -> str:
    """Of a socket's peer. A network of 64 bits counts as one address of IPv6: it is mostly one host's."""
    text = str(peer[0]) if isinstance(peer, tuple) else ""
    if ":" not in text:
        return text
    address = ipaddress.IPv6Address(text.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
