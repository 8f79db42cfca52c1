"""Fixtures of the fault tests that start the parts one by one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import Settings
from tests.conftest import FAST
from tests.processes import Pieces

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Pieces]:
    """The parts of the service, none of which runs yet."""
    pieces = Pieces(Settings().replace(**FAST), tmp_path / "parts")
    yield pieces
    pieces.stop()
