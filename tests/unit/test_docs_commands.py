"""Each piece of code in the documents is run by a test or listed with the reason, and names only what exists."""

import re

import click
import pytest

from mldeploy.cli.environment import NAMES
from settings import RENAMED, Settings
from tests.command_checks import CHECKS, MAKEFILE, all_options, check_make, check_mldeploy
from tests.not_run import COMMANDS_NOT_RUN, TEXTS_NOT_RUN, NotRun
from tests.processes import ROOT
from tests.snippets import BLOCKS, COMMANDS, DOCUMENTS, INLINES, Block, Inline, blocks_of, commands_of, inline_of, read

LINES = [inline for inline in INLINES if inline.text.split(" ")[0] in CHECKS and " " in inline.text]
TEXTS = [block for block in BLOCKS if not (block.is_python or block.is_shell)]
OPTIONS = all_options()
OF_OTHERS = {"--scale", "--soak", "--threads", "--app"}  # of docker compose, our pytest, gunicorn, flask


def listed(block: Block) -> NotRun | None:
    return next((each for (document, start), each in TEXTS_NOT_RUN.items() if is_of(block, document, start)), None)


def is_of(block: Block, document: str, start: str) -> bool:
    return block.document == document and block.text.startswith(start)


def test_every_fence_belongs_to_a_block() -> None:
    fences = sum(line.lstrip().startswith(("```", "~~~")) for document in DOCUMENTS for line in read(document).splitlines())
    assert fences == 2 * len(BLOCKS) >= 60


@pytest.mark.parametrize("block", TEXTS, ids=str)
def test_block_that_is_neither_python_nor_shell_is_listed_and_checked(block: Block) -> None:
    found = listed(block)
    assert found, f"{block}: no test runs this; run it, or add it to tests/not_run.py"
    found.check(block.text)


@pytest.mark.parametrize("command", COMMANDS_NOT_RUN, ids=str)
def test_command_that_is_not_run_is_checked(command: str) -> None:
    COMMANDS_NOT_RUN[command].check(command)


def test_command_of_a_block_is_run_or_listed() -> None:
    """Those of `mldeploy` and curl are run, by tests/acceptance/documented.py."""
    others = [each for each in COMMANDS if each[1].split(" ")[0] not in {"mldeploy", "curl"}]
    assert others
    assert [each for each in others if each[1] not in COMMANDS_NOT_RUN] == []


def test_table_lists_nothing_that_no_document_has() -> None:
    assert set(COMMANDS_NOT_RUN) - {command for _, command in COMMANDS} == set()
    assert [key for key in TEXTS_NOT_RUN if not any(is_of(block, *key) for block in BLOCKS)] == []


@pytest.mark.parametrize("line", LINES, ids=str)
def test_command_line_in_a_sentence_exists(line: Inline) -> None:
    CHECKS[line.text.split(" ")[0]](line.text)


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS if command.startswith("mldeploy ")}))
def test_command_of_a_block_has_the_options_that_are_shown(command: str) -> None:
    check_mldeploy(command)


def test_options_and_settings_in_sentences_exist() -> None:
    options = [inline for inline in INLINES if re.match(r"--[a-z]", inline.text)]
    assert len(options) > 10
    assert [str(each) for each in options if re.split("[ =]", each.text)[0] not in OPTIONS | OF_OTHERS] == []
    variables = [inline for inline in INLINES if re.match(r"[A-Z]+=", inline.text)]
    assert [str(each) for each in variables if f"$({each.text.partition('=')[0]})" not in MAKEFILE] == []


def test_settings_that_the_documents_name_exist() -> None:
    known = {f"MLDEPLOY_{name.upper()}" for name in Settings.__struct_fields__} | {f"MLDEPLOY_{name}" for name in NAMES}
    known |= {f"MLDEPLOY_{name}" for name in RENAMED}
    named = [(document, name) for document in DOCUMENTS for name in re.findall(r"\bMLDEPLOY_[A-Z_]*[A-Z]\b", read(document))]
    assert len(named) > 50
    assert [each for each in named if each[1] not in known] == []


def test_targets_of_make_are_all_in_the_contributing_guide() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert {target for target in targets if f"`make {target}`" not in guide} == set()


def test_code_is_found_in_markdown() -> None:
    text = "a `b` `c\nd`\n\n```python\nx = `1`\n```\n- e\n  ```\n  mldeploy jobs \\\n    --limit 3  # few\n  $ make x\n  ```\n`f`"
    python, shell = blocks_of("it", text)
    assert (str(python), python.text, python.is_python) == ("it:4", "x = `1`", True)
    assert [(each.line, each.text) for each in inline_of("it", text)] == [(1, "b"), (1, "c d"), (13, "f")]
    assert commands_of(shell) == ["mldeploy jobs --limit 3", "make x"]
    with pytest.raises(ValueError, match="it:1: this block is not closed"):
        list(blocks_of("it", "```\nx"))


@pytest.mark.parametrize(
    "command", ["mldeploy fly", "mldeploy predict --fast", "mldeploy models adopt --all", "mldeploy keys get"]
)
def test_command_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises(click.UsageError):
        check_mldeploy(command)


@pytest.mark.parametrize("command", ["make coffee", "make demo SPEED=2"])
def test_target_or_variable_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises(AssertionError, match="make has no"):
        check_make(command)
