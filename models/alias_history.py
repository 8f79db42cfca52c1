"""The history of a model's aliases: each move with its time, author and reason, newest first; and the target of a rollback."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from compare_and_set import NOW
from models.card import CHAMPION

MAX_MOVES = 200
MAX_TEXT = 300  # characters of ``who`` and of ``why``


class NothingToRollBackTo(ValueError):
    """No earlier champion exists, or none of them is still kept."""


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
    """Decode a history; an empty text is an empty history."""
    return msgspec.json.decode(text, type=list[Move]) if text else []


def with_move(text: str, alias: str, from_: int | None, to: int | None, who: str, why: str, rollback: bool = False) -> str:
    """Return the history with one more move. Redis fills in its time (see compare_and_set.NOW)."""
    new = Move(0, alias, from_, to, who[:MAX_TEXT], why[:MAX_TEXT], rollback)
    return msgspec.json.encode([new, *read(text)[: MAX_MOVES - 1]]).decode().replace('"at":0', f'"at":{NOW}', 1)


def promoted_versions(history: Sequence[Move], alias: str = CHAMPION) -> list[int]:
    """Return the versions that were promoted and not rolled back, oldest first: the last one is in service."""
    standing: list[int] = []
    for move in reversed(history):
        if move.alias != alias or move.to_version is None:
            continue
        if move.rollback:
            while standing and standing[-1] != move.to_version:
                standing.pop()
        if not standing or standing[-1] != move.to_version:
            standing.append(move.to_version)
    return standing


def rollback_target(history: Sequence[Move], kept: Sequence[int]) -> int:
    """Return the version that a rollback restores, which must be among ``kept``. Raises NothingToRollBackTo."""
    standing = promoted_versions(history)
    earlier = [version for version in standing[:-1] if version in kept and version != standing[-1]]
    if not earlier:
        raise NothingToRollBackTo("no version was champion before this one, or none that is still kept")
    return earlier[-1]
