"""Tables of the command line."""

from mldeploy.cli.table import Column, table_lines

COLUMNS = (Column("NAME", whole=True), Column("LABEL"), Column("ROWS", from_width=100))


def test_text_that_is_too_long_goes_on_in_the_next_line() -> None:
    lines = table_lines(COLUMNS, [("n" * 30, "word " * 20, 1)], 80)
    assert lines[0].split() == ["NAME", "LABEL"]
    assert max(map(len, lines)) <= 80
    assert "n" * 30 in lines[1]
    assert sum(line.count("word") for line in lines) == 20


def test_nothing_is_shown_for_none() -> None:
    assert table_lines(COLUMNS, [("a", None, 0)], 100) == ["NAME  LABEL  ROWS", "a            0"]


def test_markup_is_text_and_control_characters_are_replaced() -> None:
    [_, line] = table_lines(COLUMNS, [("[b]a", "\x1b[31mred\x9b2J\r\n\x07", 1)], 100)
    assert line.split() == ["[b]a", "�[31mred�2J���", "1"]
