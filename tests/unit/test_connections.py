"""Which connection is evicted for another, and how it ends."""

import asyncio

from msgspec.structs import replace

from api.server.connections import Connections, Peer, Phase
from tests.echo_server import LIMITS


class Idle:
    """An idle connection whose client has this many bytes unread."""

    address = "127.0.0.1"
    peer: Peer
    phase = Phase.OPENING
    since = float("-inf")
    over = False

    def __init__(self, left: int) -> None:
        self._left = left
        self.ends = list[str]()

    def close(self) -> None:
        self.ends.append("closed")

    def abort(self) -> None:
        self.ends.append("aborted")

    def time_out(self) -> None:
        self.ends.append("timed out")

    def unsent(self) -> int:
        return self._left


def test_evicted_connection_is_closed_though_its_answer_is_unread() -> None:
    async def give_way() -> list[list[str]]:
        connections = Connections(replace(LIMITS, per_address=2))
        members = [Idle(0), Idle(5000), Idle(0), Idle(0)]
        assert all(connections.add(member) for member in members)
        assert len(connections.all) == 2
        return [member.ends for member in members]

    assert asyncio.run(give_way()) == [["closed"], ["aborted"], [], []]
