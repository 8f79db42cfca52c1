"""Readers of the documents: one who calls a service, and one who is on the server where it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.documented import DocumentedService
from tests.acceptance.reader import Reader
from tests.service import Service


@pytest.fixture
def caller(service: Service, tmp_path: Path) -> Reader:
    return Reader(tmp_path, service.url)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DocumentedService, str]]:
    """Return the service, and an admin's key for it."""
    running = DocumentedService(tmp_path_factory.mktemp("server"))
    try:
        reader = Reader(running.home.parent, running.url, running.home.parent)
        yield running, reader.run("mldeploy keys create --name boss --scopes admin").split()[-1]
    finally:
        running.stop()


@pytest.fixture
def operator(documented: tuple[DocumentedService, str], tmp_path: Path) -> Reader:
    running, key = documented
    return Reader(tmp_path, running.url, running.home.parent, key)
