"""docs/reliability.md names tests that exist, and every fault test."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
NAMED = re.findall(r"`([a-z]+/test_\w+\.py)::(test_\w+)`", (TESTS.parent / "docs" / "reliability.md").read_text())


def defined_in(file: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name for node in ast.parse(file.read_text()).body if isinstance(node, functions) and node.name.startswith("test_")
    }


def test_every_named_test_exists() -> None:
    assert NAMED
    assert [(file, name) for file, name in NAMED if name not in defined_in(TESTS / file)] == []


def test_every_fault_test_is_named() -> None:
    files = [f"faults/{file.name}" for file in (TESTS / "faults").glob("test_*.py")]
    assert {(file, name) for file in files for name in defined_in(TESTS / file)} - set(NAMED) == set()
