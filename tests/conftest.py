"""Fixtures shared by all tests: a Redis, and the whole service once for tests that only use it."""

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.ledger import Ledger
from mldeploy.client import Client
from settings import Settings
from tests.poison import publish, without_workers
from tests.processes import Pieces
from tests.service import Service

NAMES = itertools.count()
FAST = {"lease": 4.0, "wakeup_timeout": 1.0, "predict_workers": 2, "train_workers": 1}
MEASURED: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="the fault tests with more jobs and more faults")
    parser.addoption("--redis-url", default="", help="the Redis that the ledger is tested on; without it one is started")
    parser.addoption("--soak", type=float, default=0.0, help="seconds of the soak; without it 1200 with --chaos, else 26")


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would all processes of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def chaos(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--chaos"))


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Return the lines printed at the end of the run, such as recovery times."""
    return MEASURED


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the lines of each xdist process to the first one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["measured"] = MEASURED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    MEASURED.extend(getattr(node, "workeroutput", {}).get("measured", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.section("measured")
        for line in MEASURED:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if url := request.config.getoption("--redis-url"):
        yield str(url)
        return
    pieces = Pieces(Settings(), tmp_path_factory.mktemp("redis"))
    pieces.redis()
    yield pieces.settings.redis_url
    pieces.stop()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Return settings with a key prefix for each test, on the Redis of the session."""
    return Settings(redis_url=redis_url, key_prefix=f"test{next(NAMES)}", home=str(tmp_path), lease=5.0)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start `mldeploy up` once, with a first version of iris."""
    running = Service(tmp_path_factory.mktemp("home"))
    try:
        Client(running.url).train(model="iris").wait(60)
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start all parts with the poison model and without a train worker, for tests that stop none of them. A dead process's lease
    would last a minute."""
    with without_workers(Settings().replace(**{**FAST, "lease": 60.0}), tmp_path_factory.mktemp("shared")) as pieces:
        pieces.worker()
        yield pieces


@pytest.fixture
def assemble(tmp_path: Path) -> Iterator[Callable[..., Pieces]]:
    """Return a function that starts Redis, the API and, unless it is the control arm, the reconciler, with the poison model."""
    made: list[Pieces] = []

    def make(reconciler: bool = True, **settings: Any) -> Pieces:
        pieces = Pieces(Settings().replace(**{**FAST, **settings}), tmp_path / f"pieces{len(made)}")
        made.append(pieces)
        pieces.redis()
        publish(pieces)
        if reconciler:
            pieces.reconciler()
        pieces.api()
        return pieces

    yield make
    for pieces in made:
        pieces.stop()
