"""Fixtures shared by all tests: a Redis of their own, and the whole service once for those who only use it."""

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.ledger import Ledger
from mldeploy.client import Client
from settings import Settings
from tests.poison import publish
from tests.processes import Pieces
from tests.service import Service

NAMES = itertools.count()
FAST = {"lease": 4.0, "wakeup_timeout": 1.0, "predict_workers": 2, "train_workers": 1}
TOLD: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="the fault tests with more jobs and more faults")
    parser.addoption("--redis-url", default="", help="the Redis that the ledger is tested on; without it one is started")
    parser.addoption("--soak", type=float, default=0.0, help="seconds of the soak; without it 1200 with --chaos, else 26")


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def chaos(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--chaos"))


@pytest.fixture(scope="session")
def tell() -> list[str]:
    """Lines for the end of the run: recovery times and the like."""
    return TOLD


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Of one of several processes: the first tells of all."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["told"] = TOLD


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TOLD.extend(getattr(node, "workeroutput", {}).get("told", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TOLD:
        terminalreporter.section("measured")
        for line in TOLD:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := request.config.getoption("--redis-url"):
        yield str(given)
        return
    pieces = Pieces(Settings(), tmp_path_factory.mktemp("redis"))
    pieces.redis()
    yield pieces.settings.redis_url
    pieces.stop()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Keys of their own for each test, on the Redis of the session."""
    return Settings(redis_url=redis_url, key_prefix=f"test{next(NAMES)}", home=str(tmp_path), lease=5.0)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`mldeploy up`, once, with a first version of iris."""
    running = Service(tmp_path_factory.mktemp("home"))
    try:
        Client(running.url).train(model="iris").wait(60)
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """For tests that need nothing of their own: all pieces with the poison model, but no worker that trains."""
    pieces = Pieces(Settings().replace(**FAST), tmp_path_factory.mktemp("shared"))
    try:
        pieces.redis()
        publish(pieces)
        pieces.reconciler()
        pieces.api()
        pieces.worker()
        yield pieces
    finally:
        pieces.stop()


@pytest.fixture
def assemble(tmp_path: Path) -> Iterator[Callable[..., Pieces]]:
    """Redis, the API and, unless this is the control arm, the reconciler; with the poison model published."""
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
