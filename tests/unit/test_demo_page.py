"""The layout of the demo."""

from mldeploy.demo.page import COLUMNS, ERASE_LINE, MAX_JSON_LINES, Page, Waiting
from tests.processes import until


def show_until(waiting: Waiting, written: list[str], count: int) -> None:
    def is_shown() -> bool:
        waiting.show()
        return len(written) == count

    until(is_shown, count + 2, f"{count} lines are written")


def test_long_lines_are_wrapped_and_indented() -> None:
    written: list[str] = []
    Page(written.append).line("word " * 50)
    lines = "".join(written).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert [len(line) - len(line.lstrip()) for line in lines] == [3, 6, 6]


def test_json_is_shown_only_if_the_page_is_verbose_and_is_cut() -> None:
    written: list[str] = []
    value = {"text": "x" * 200, "rows": list(range(200))}
    Page(written.append).json("→", value)
    assert written == []
    Page(written.append, verbose=True).json("→", value)
    assert max(len(line.rstrip("\n")) for line in written) <= COLUMNS
    assert len(written) == MAX_JSON_LINES + 1
    assert written[-1].endswith("more lines\n")


def test_columns_of_a_table_are_aligned() -> None:
    written: list[str] = []
    Page(written.append).table(("a", "bb"), [("aaa", "[b]")])
    assert written == ["   a    bb\n", "   aaa  [b]\n"]


def test_terminal_shows_one_line_while_waiting_and_removes_it() -> None:
    written: list[str] = []
    waiting = Page(written.append, overwrites=True).waiting("training")
    waiting.show()
    assert written == []
    show_until(waiting, written, 2)
    waiting.done()
    assert written == [f"{ERASE_LINE}   training … 1 s", f"{ERASE_LINE}   training … 2 s", ERASE_LINE]


def test_pipe_gets_a_line_now_and_then_while_waiting() -> None:
    written: list[str] = []
    waiting = Page(written.append).waiting("training")
    show_until(waiting, written, 1)
    waiting.show()
    waiting.done()
    assert written == ["   training … 1 s\n"]
