"""The log of an alias's moves, and where a rollback goes."""

import pytest

from models.alias_history import Move, NothingToRollBackTo, before, line, read, with_move


def log(*moves: tuple[int, bool] | int) -> list[Move]:
    """Newest first; a number is a promotion, a pair may be a rollback."""
    told, champion = [], None
    for at, move in enumerate(moves):
        version, rollback = move if isinstance(move, tuple) else (move, False)
        told.append(Move(at, "champion", champion, version, "", "", rollback))
        champion = version
    return told[::-1]


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
def test_the_line_of_champions_is_what_was_not_rolled_back(moves: tuple[int, ...], standing: list[int]) -> None:
    assert line(log(*moves)) == standing


def test_a_rollback_goes_to_the_last_one_that_is_still_kept() -> None:
    assert before(log(1, 2, 3), [1, 2, 3]) == 2
    assert before(log(1, 2, 3), [1, 3]) == 1
    assert before(log(1, 2, 1), [1, 2]) == 2
    for moves, kept in ((log(1), [1]), (log(1, 2), [2]), (log(1, 2, 1), [1]), ([], [1])):
        with pytest.raises(NothingToRollBackTo):
            before(moves, kept)


def test_moves_of_another_alias_do_not_count() -> None:
    other = Move(9, "next", None, 7, "", "")
    assert line([other, *log(1, 2)]) == [1, 2]


def test_a_move_comes_first_and_is_stamped_whatever_is_said_of_it() -> None:
    text = with_move("", "champion", None, 1, "me", "")
    text = with_move(text.replace('"@now"', "5", 1), "champion", 1, 2, '"@now"', '"at":"@now"')
    moves = read(text.replace('"@now"', "6", 1))
    assert [(move.at, move.to_version) for move in moves] == [(6, 2), (5, 1)]
    assert moves[0].who == '"@now"'
