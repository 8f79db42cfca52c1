"""Fixtures shared by several files."""

from collections.abc import Iterator

import pytest

from tests.callers import Caller, caller_with
from tests.poison import with_poison
from tests.service import Service


@pytest.fixture(scope="session")
def anybody(service: Service) -> Caller:
    """Return a caller of a service without keys that has the poison model."""
    with_poison(service)
    return Caller(service.url)


@pytest.fixture(scope="session")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start a service with keys and two API processes, whose webhooks may go to this machine. One data set is older than its
    first key."""
    running = Service(
        tmp_path_factory.mktemp("closed"),
        api_workers=2,
        predict_workers=1,
        webhook_networks="127.0.0.1",
        lease=4.0,
        wakeup_timeout=1.0,
    )
    rows = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))
    nobody = Caller(running.url)
    nobody.end_of(nobody.post("/datasets/before-keys", data=rows, headers={"Content-Type": "text/csv"}).json())
    yield running
    running.stop()


@pytest.fixture(scope="session")
def alice(closed: Service) -> Caller:
    with_poison(closed)
    return caller_with(closed.url, closed.ledger, "alice", ["predict", "train"])


@pytest.fixture(scope="session")
def bob(closed: Service) -> Caller:
    return caller_with(closed.url, closed.ledger, "bob", ["predict", "train"])


@pytest.fixture(scope="session")
def root(closed: Service) -> Caller:
    return caller_with(closed.url, closed.ledger, "root", ["admin"])
