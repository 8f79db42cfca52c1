"""The log of an alias's moves, and where a rollback leads."""

import pytest

from models.alias_history import Move, NothingToRollBackTo, promoted_versions, read, rollback_target, with_move


def log(*moves: tuple[int, bool] | int) -> list[Move]:
    """Return a log, newest first; a number is a promotion, a pair may be a rollback."""
    entries, champion = [], None
    for at, move in enumerate(moves):
        version, rollback = move if isinstance(move, tuple) else (move, False)
        entries.append(Move(at, "champion", champion, version, "", "", rollback))
        champion = version
    return entries[::-1]


@pytest.mark.parametrize(
    ("moves", "standing"),
    [
        ((1, 2, 3), [1, 2, 3]),
        ((1, 2, 3, (2, True)), [1, 2]),
        ((1, 2, 3, (2, True), (1, True)), [1]),
        ((1, 2, 3, (2, True), 4), [1, 2, 4]),
        ((1, 2, 1), [1, 2, 1]),
    ],
)
def test_champions_are_those_not_rolled_back(moves: tuple[int, ...], standing: list[int]) -> None:
    assert promoted_versions(log(*moves)) == standing


def test_a_rollback_goes_to_the_last_one_that_is_still_kept() -> None:
    assert rollback_target(log(1, 2, 3), [1, 2, 3]) == 2
    assert rollback_target(log(1, 2, 3), [1, 3]) == 1
    assert rollback_target(log(1, 2, 1), [1, 2]) == 2
    for moves, kept in ((log(1), [1]), (log(1, 2), [2]), (log(1, 2, 1), [1]), ([], [1])):
        with pytest.raises(NothingToRollBackTo):
            rollback_target(moves, kept)


def test_moves_of_another_alias_do_not_count() -> None:
    other = Move(9, "next", None, 7, "", "")
    assert promoted_versions([other, *log(1, 2)]) == [1, 2]


def test_newest_move_is_first_and_keeps_its_time_whatever_its_text() -> None:
    text = with_move("", "champion", None, 1, "me", "")
    text = with_move(text.replace('"@now"', "5", 1), "champion", 1, 2, '"@now"', '"at":"@now"')
    moves = read(text.replace('"@now"', "6", 1))
    assert [(move.at, move.to_version) for move in moves] == [(6, 2), (5, 1)]
    assert moves[0].who == '"@now"'
