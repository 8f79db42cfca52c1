"""Each ledger script includes the parts that it uses, and no others."""

import re
from importlib import resources

import pytest

from jobs.scripts import PARTS, STEPS

LUA = resources.files("jobs") / "lua"
NOT_CODE = re.compile(r"--[^\n]*|'[^']*'|\"[^\"]*\"")
DEFINED = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)
INNER = re.compile(r"\b(?:local|for) (?:function )?([\w, ]+)|function ?\w*\(([\w, ]*)\)")


def code(name: str) -> str:
    files = (*STEPS.get(name, ()), name)
    return "".join(NOT_CODE.sub(" ", (LUA / f"{file}.lua").read_text()) for file in files)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def defined(name: str) -> set[str]:
    """Return the names that a part defines for those after it."""
    return {each for found in DEFINED.findall(code(name)) for each in names_in(found)}


def used(name: str) -> set[str]:
    own = {each for found in INNER.findall(code(name)) for text in found for each in names_in(text)}
    return names_in(code(name)) - own


@pytest.mark.parametrize("script", PARTS)
def test_a_script_has_all_parts_that_it_and_its_parts_use(script: str) -> None:
    shared = {each: part for parts in PARTS.values() for part in parts for each in defined(part)}
    there = set[str]()
    for name in (*PARTS[script], script):
        missing = {each: shared[each] for each in used(name) & set(shared) if each not in there | defined(name)}
        assert not missing, f"{name}.lua uses what {script} does not have"
        there |= defined(name)


@pytest.mark.parametrize("script", PARTS)
def test_a_script_has_no_part_that_it_and_its_parts_do_not_use(script: str) -> None:
    parts = PARTS[script]
    for place, part in enumerate(parts):
        later = set[str]().union(*(used(name) for name in (*parts[place + 1 :], script)))
        assert defined(part) & later, f"nothing of {part}.lua is used"


def test_every_lua_file_is_a_script_or_a_part() -> None:
    files = {file.name.removesuffix(".lua") for file in LUA.iterdir()}
    assert files == set(PARTS) | {part for parts in PARTS.values() for part in parts}
