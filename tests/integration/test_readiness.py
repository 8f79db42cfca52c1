"""GET /health/ready names each problem and what to do, and recovers by itself."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.errors import LedgerFull
from jobs.job import Job, Kind
from jobs.reconciler import OUTAGE
from mldeploy.client import Client
from settings import Settings
from tests.conftest import FAST
from tests.poison import expected, publish, row, without_workers
from tests.processes import Pieces, Running, free_port, server_path, until

Assemble = Callable[..., Pieces]
WATCHED = {"lease": 2.0, "default_model": "poison", "predict_workers": 1}


def answer(pieces: Pieces) -> requests.Response:
    return requests.get(f"{pieces.url}/health/ready", timeout=10)


def codes(pieces: Pieces) -> dict[str, str]:
    """Return the severity of each reason by its code."""
    return {reason["code"]: reason["severity"] for reason in answer(pieces).json()["reasons"]}


def await_codes(pieces: Pieces, wanted: dict[str, str], seconds: float = 15.0) -> dict[str, Any]:
    until(lambda: codes(pieces) == wanted, seconds, f"the reasons are {wanted}, not {codes(pieces)}")
    found = answer(pieces)
    said: dict[str, Any] = found.json()
    worst = "not-ready" if "not-ready" in wanted.values() else "degraded" if wanted else "ready"
    assert (said["status"], found.status_code) == (worst, 503 if worst == "not-ready" else 200)
    assert ("Retry-After" in found.headers) == (worst == "not-ready")
    assert all(reason["detail"] and reason["action"] for reason in said["reasons"])
    return said


@pytest.fixture
def whole(assemble: Assemble) -> Callable[..., tuple[Pieces, dict[Kind, Running]]]:
    """Start all parts, ready. Returns the workers by kind."""

    def make(**settings: Any) -> tuple[Pieces, dict[Kind, Running]]:
        pieces = assemble(**{**WATCHED, **settings})
        return pieces, ready_workers(pieces)

    return make


def ready_workers(pieces: Pieces) -> dict[Kind, Running]:
    workers = {kind: pieces.worker(kind) for kind in (Kind.PREDICT, Kind.TRAIN, Kind.WEBHOOK)}
    await_codes(pieces, {})
    return workers


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start all parts, ready, for tests that end none of them."""
    with without_workers(Settings().replace(**{**FAST, **WATCHED}), tmp_path_factory.mktemp("watched")) as pieces:
        ready_workers(pieces)
        yield pieces


def part(pieces: Pieces, name: str) -> Running:
    return next(running for running in pieces._running if running.name == name)


@pytest.mark.slow
def test_missing_worker_kind_is_named_and_only_predict_is_not_ready(whole: Any) -> None:
    pieces, workers = whole()
    workers[Kind.WEBHOOK].kill()
    await_codes(pieces, {"no-webhook-worker": "degraded"})
    workers[Kind.TRAIN].kill()
    await_codes(pieces, {"no-webhook-worker": "degraded", "no-train-worker": "degraded"})
    workers[Kind.PREDICT].kill()
    said = await_codes(pieces, {"no-webhook-worker": "degraded", "no-train-worker": "degraded", "no-predict-worker": "not-ready"})
    assert said["workers"] == {"predict": 0, "train": 0, "webhook": 0}
    assert requests.get(f"{pieces.url}/v2/health/ready", timeout=10).json() == {"ready": False}
    assert requests.get(f"{pieces.url}/ping", timeout=10).status_code == 503
    assert Client(pieces.url).ready()["status"] == "not-ready"
    for kind in workers:
        pieces.worker(kind, f"new-{kind}")
    await_codes(pieces, {})


@pytest.mark.slow
def test_restarted_worker_is_not_reported(whole: Any) -> None:
    pieces, workers = whole(lease=30.0)  # longer than a start takes on a busy machine
    statuses = []
    workers[Kind.PREDICT].terminate()
    until(lambda: not pieces.ledger.live_owners(Kind.PREDICT), 5, "it has left")
    assert answer(pieces).json()["status"] == "degraded"
    starting = pieces._start_worker(Kind.PREDICT, "next")
    while not pieces.is_ready(starting):
        statuses.append(answer(pieces).status_code)
    assert set(statuses) == {200}


def test_stopped_workers_are_reported(watched: Pieces) -> None:
    worker = part(watched, Kind.PREDICT)
    worker.signal_all(signal.SIGSTOP)
    await_codes(watched, {"no-predict-worker": "not-ready"})
    worker.signal_all(signal.SIGCONT)
    await_codes(watched, {})


@pytest.mark.slow
def test_silent_reconciler_is_reported(whole: Any) -> None:
    pieces, _ = whole()
    reconciler = part(pieces, "reconciler")
    reconciler.signal_all(signal.SIGSTOP)
    said = await_codes(pieces, {"reconciler-silent": "degraded"}, 2 * OUTAGE + 5)
    assert said["reconciled_seconds_ago"] > 2 * OUTAGE
    assert Client(pieces.url).predict(row(1)).wait(20)["prediction"] == expected(1)
    reconciler.signal_all(signal.SIGCONT)
    await_codes(pieces, {})


def test_without_a_reconciler_it_is_degraded_from_the_start(assemble: Assemble) -> None:
    pieces = assemble(reconciler=False)
    said = answer(pieces).json()
    assert "reconciler-silent" in codes(pieces)
    assert said["reconciled_seconds_ago"] is None


def test_redis_away_is_not_ready_within_three_seconds_and_ready_when_it_is_back(watched: Pieces) -> None:
    server = part(watched, "redis")
    server.signal_all(signal.SIGSTOP)
    since = time.monotonic()
    assert await_codes(watched, {"redis-unavailable": "not-ready"})["workers"] == {}
    assert time.monotonic() - since < 3
    server.signal_all(signal.SIGCONT)
    await_codes(watched, {})


@pytest.fixture
def broker() -> Iterator[Callable[[Path], tuple[int, Running]]]:
    started: list[Running] = []

    def start(folder: Path, port: int = 0) -> tuple[int, Running]:
        folder.mkdir(exist_ok=True)
        port = port or free_port()
        command = [str(server_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        started.append(Running(command, Settings(), folder, "broker"))
        return port, started[-1]

    yield start
    for running in started:
        running.kill()


@pytest.mark.slow
def test_a_broker_of_its_own_that_is_gone_is_named(whole: Any, broker: Any, tmp_path: Path) -> None:
    port, running = broker(tmp_path / "broker")
    pieces, _ = whole(broker_url=f"redis://127.0.0.1:{port}/0")
    running.kill()
    said = await_codes(pieces, {"broker-unavailable": "not-ready"}, 20)
    assert "refused" in said["reasons"][0]["detail"]
    broker(tmp_path / "broker", port)
    await_codes(pieces, {}, 30)


@pytest.mark.slow
def test_a_champion_signed_with_another_key_is_not_ready(assemble: Assemble) -> None:
    """This happens in a home restored without its signing.key."""
    pieces = assemble(default_model="poison", signing_key="the one that published it", predict_workers=1)
    publish(pieces, "other")
    right, pieces.settings = pieces.settings, pieces.settings.replace(signing_key="another")
    wrong = pieces.worker()
    until(lambda: "champion-unloadable" in codes(pieces), 15, "it is named")
    found = {reason["detail"].split(" version ")[0]: reason for reason in answer(pieces).json()["reasons"]}
    of_default, of_other = found["no worker can load poison"], found["no worker can load other"]
    assert (of_default["severity"], of_other["severity"]) == ("not-ready", "degraded")
    assert "signed with another key: restore the signing.key" in of_default["detail"]
    pieces.settings = right
    pieces.worker(name="right")
    until(lambda: "some workers cannot load poison" in answer(pieces).text, 15, "another can load it")
    assert codes(pieces)["champion-unloadable"] == "degraded"
    wrong.terminate()
    until(lambda: "no worker can load" not in answer(pieces).text, 15, "the other is gone")
    assert Client(pieces.url).predict(row(1)).wait(20)["prediction"] == expected(1)


@pytest.mark.slow
def test_a_champion_whose_files_are_gone_is_not_ready_until_they_are_back(whole: Any) -> None:
    pieces, workers = whole()
    files = Path(pieces.settings.store_location) / "poison" / "1-1"
    shutil.move(files, pieces.folder / "away")
    assert Client(pieces.url).predict(row(1)).wait(20)["prediction"] == expected(1)  # it is in memory
    await_codes(pieces, {})
    workers[Kind.PREDICT].terminate()
    pieces.worker(name="next")
    said = await_codes(pieces, {"champion-unloadable": "not-ready"})
    assert "gone from the store" in said["unloadable"]["poison/1"]
    shutil.move(pieces.folder / "away", files)
    await_codes(pieces, {})


@pytest.mark.slow
def test_memory_full_of_open_jobs_is_degraded_until_they_end(whole: Any) -> None:
    pieces, workers = whole(maxmemory=32_000_000, lease=60.0)
    workers[Kind.PREDICT].signal_all(signal.SIGSTOP)

    def stays_full() -> bool:
        fill(pieces)
        return "memory-full" in codes(pieces)

    until(stays_full, 15, "memory stays full when the reconciler has looked again")
    said = await_codes(pieces, {"memory-full": "degraded"})
    assert "bytes of Redis's memory are taken" in said["reasons"][0]["detail"]
    workers[Kind.PREDICT].signal_all(signal.SIGCONT)
    await_codes(pieces, {}, 30)


def fill(pieces: Pieces) -> None:
    """Submit ever smaller jobs until the smallest is refused."""
    for size in (500_000, 50_000, 2_000, 1):
        refused = False
        while not refused:
            job = Job(pieces.ledger.new_id(), Kind.PREDICT, "poison", 1, 1, b"x" * size, b"{}", result_bytes=size)
            (outcome,), _ = pieces.ledger.add([job])
            refused = isinstance(outcome, LedgerFull)


def test_health_checks_share_one_reading_a_second(watched: Pieces) -> None:
    def looks() -> int:
        return int(watched.ledger.redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

    def in_a_second(check: bool) -> int:
        before, end = looks(), time.monotonic() + 1
        while time.monotonic() < end:
            assert not check or answer(watched).status_code == 200
        return looks() - before

    idle, checked = in_a_second(False), in_a_second(True)
    assert checked <= idle + 6, (idle, checked)
