"""The Python of the documents, run against a service: it must print what the comments beside its `print` say."""

import ast
import re

import pytest

from tests.acceptance.documented import new_name, serve_third, with_versions
from tests.acceptance.reader import Reader
from tests.snippets import BLOCKS

PROGRAMS = {
    document: "\n".join(block.text for block in BLOCKS if block.document == document and block.is_python and not block.file_name)
    for document in dict.fromkeys(block.document for block in BLOCKS if block.is_python and not block.file_name)
}


def expected_of(code: str) -> list[str | None]:
    """Return for each `print` the comment behind it, or in the line after it; None without one."""
    lines = [*code.split("\n"), ""]
    prints = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    found: list[str | None] = []
    for node in sorted(prints, key=lambda node: node.lineno):
        behind, after = lines[(node.end_lineno or 0) - 1][node.end_col_offset or 0 :].strip(), lines[node.end_lineno or 0].strip()
        comment = behind or after
        found.append(comment.removeprefix("# ") if comment.startswith("# ") else None)
    return found


def is_as_shown(line: str, shown: str) -> bool:
    """Whether it is the same, where `…` stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, shown.split("…"))), line))


@pytest.mark.parametrize("document", PROGRAMS)
def test_python_prints_what_the_comments_say(document: str, caller: Reader) -> None:
    code = PROGRAMS[document]
    caller.wine = new_name()
    if "wine" in code and ".train(" not in code:
        serve_third(caller.client, with_versions(caller.client, caller.wine))
    printed, expected = caller.run_python(code), expected_of(code)
    assert len(printed) == len(expected), printed
    assert [(line, shown) for line, shown in zip(printed, expected, strict=True) if shown and not is_as_shown(line, shown)] == []


def test_comments_of_prints_are_found() -> None:
    assert set(PROGRAMS) >= {"README.md", "client/README.md", "docs/clients.md", "docs/models.md"}
    assert sum(shown is not None for code in PROGRAMS.values() for shown in expected_of(code)) >= 6
    assert expected_of("print(1)  # 1\nf()  # 2\nprint(2)\n# 2\nprint(\n3)\nx = 1  # 3") == ["1", "2", None]
    assert is_as_shown("True accuracy 0.96 of it", "True accuracy 0.9… of …")
    assert not is_as_shown("False accuracy", "True …")
