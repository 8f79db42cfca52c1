"""The moves of a model's aliases: logged with time, who and why, newest first; and where a rollback goes."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from models.card import CHAMPION
from models.compare_and_set import NOW

MAX_MOVES = 200
LONGEST = 300  # characters of who and why


class NothingToRollBackTo(ValueError):
    """No version was champion before this one, or none that is still there."""


class Move(Struct, frozen=True, omit_defaults=True):
    """``at``: milliseconds since 1970 on Redis's clock. ``to_version`` is null when an alias was taken away.
    ``rollback``: undid an earlier move."""

    at: int
    alias: str
    from_version: int | None
    to_version: int | None
    who: str
    why: str
    rollback: bool = False


def read(text: str | bytes) -> list[Move]:
    return msgspec.json.decode(text, type=list[Move]) if text else []


def with_move(text: str, alias: str, from_: int | None, to: int | None, who: str, why: str, rollback: bool = False) -> str:
    """The log with one more, whose time Redis is yet to fill in (see models.compare_and_set)."""
    new = Move(0, alias, from_, to, who[:LONGEST], why[:LONGEST], rollback)
    return msgspec.json.encode([new, *read(text)[: MAX_MOVES - 1]]).decode().replace('"at":0', f'"at":{NOW}', 1)


def line(moves: Sequence[Move], alias: str = CHAMPION) -> list[int]:
    """The versions that were promoted and not rolled back, the one in service last."""
    standing: list[int] = []
    for move in reversed(moves):
        if move.alias != alias or move.to_version is None:
            continue
        if move.rollback:
            while standing and standing[-1] != move.to_version:
                standing.pop()
        if not standing or standing[-1] != move.to_version:
            standing.append(move.to_version)
    return standing


def before(moves: Sequence[Move], kept: Sequence[int]) -> int:
    """The version that a rollback goes back to. Raises NothingToRollBackTo."""
    standing = line(moves)
    earlier = [version for version in standing[:-1] if version in kept and version != standing[-1]]
    if not earlier:
        raise NothingToRollBackTo("no version was champion before this one, or none that is still kept")
    return earlier[-1]
