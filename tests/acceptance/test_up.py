"""`mldeploy up`: one command that leaves nothing behind, whatever is killed."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mldeploy.client import Client
from settings import Settings
from tests.commands import mldeploy
from tests.faults.load import Load, settle
from tests.poison import with_poison
from tests.processes import Pieces, free_port, until
from tests.service import NAMES, Service

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home")
    yield service
    service.stop()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def run_up(home: Path, port: int) -> str:
    """Return the output of an `up` that cannot start."""
    with pytest.raises(AssertionError) as refused:
        Service(home, port)
    return str(refused.value)


def test_up_prints_one_line_when_all_parts_are_ready(service: Service) -> None:
    ready = f"mldeploy is ready at {service.url} (2 predict and 1 train worker processes, home {service.home}"
    assert service.ready_line.startswith(ready)
    assert set(service.children()) == set(NAMES)
    assert Client(service.url).predict(FLOWER).wait(30)["prediction"] == "setosa"


def test_embedded_redis_has_a_private_socket_and_keeps_what_it_acknowledged(service: Service) -> None:
    redis = service.ledger.redis
    socket = service.settings.replace(home=str(service.home)).embedded_socket
    assert socket.stat().st_mode & 0o077 == 0
    config = {name: redis.config_get(name)[name] for name in ("port", "appendonly", "appendfsync", "maxmemory-policy")}
    assert config == {"port": "0", "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def test_a_second_up_on_the_same_home_or_a_taken_port_is_a_clear_error(service: Service, tmp_path: Path) -> None:
    assert f"is up on {service.home} already (process {service.popen.pid})" in run_up(service.home, free_port())
    taken = run_up(tmp_path / "other", service.settings.port)
    assert f"port {service.settings.port}" in taken
    assert "--port" in taken
    assert Client(service.url).predict(FLOWER).wait(30)["prediction"] == "setosa"


@pytest.mark.slow
def test_home_without_its_signing_key_starts_and_reports_what_is_missing(tmp_path: Path) -> None:
    home = tmp_path / "restored"
    first = Service(home)
    Client(first.url).predict(FLOWER).wait(60)
    first.stop()
    key = home / "signing.key"
    published_with = key.read_bytes()
    key.unlink()
    without = Service(home)
    try:
        assert without.ready_line.startswith(f"mldeploy is up at {without.url} and not ready")
        assert "signed with another key: restore the signing.key" in "".join(without.said_before)
        completed = mldeploy("status", "--url", without.url)
        assert (completed.returncode, json.loads(completed.stdout)["reasons"][0]["code"]) == (1, "champion-unloadable")
    finally:
        without.stop()
    key.write_bytes(published_with)
    again = Service(home)
    try:
        assert again.said_before == []
        completed = mldeploy("status", "--url", again.url)
        assert (completed.returncode, json.loads(completed.stdout)["status"]) == (0, "ready")
        assert Client(again.url).predict(FLOWER).wait(30)["prediction"] == "setosa"
    finally:
        again.stop()
    assert mldeploy("status", "--url", again.url, "--retry-for", "0").returncode == 2


def test_home_that_no_server_here_reads_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir(mode=0o700)
    (tmp_path / "redis" / "written-by").write_text("Redis 99.0.0\n")
    (tmp_path / "redis" / "written-by").chmod(0o600)
    refused = run_up(tmp_path, free_port())
    assert f"Error: {tmp_path / 'redis'} was last written by Redis 99.0.0, which" in refused
    assert len(refused.splitlines()) == 1


@pytest.mark.slow
def test_home_with_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / ("deeper" * 10)
    service = Service(deep)
    try:
        assert Client(service.url).predict(FLOWER).wait(30)["prediction"] == "setosa"
    finally:
        assert service.stop() == 0


@pytest.mark.slow
def test_up_stops_within_10_s_and_leaves_no_process(tmp_path: Path, figures: list[str]) -> None:
    service = Service(tmp_path / "home", drain=1.0)
    with_poison(service)
    client, family = Client(service.url), service.family()
    with Load(service.url, seconds=0.05) as load:
        until(lambda: len(load.accepted) > 20, 20, "there is load")
        slow = client.predict({"deed": 0, "number": 1, "seconds": 6}, model="poison")
        until(lambda: slow.reload().status == "running", 20, "the slow one runs")
        since = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0
        took = time.monotonic() - since
    assert alive(family) == []
    assert took < 10
    service = Service(tmp_path / "home", service.settings.port)
    try:
        settle(load, within=30)
        slow.reload()
        assert slow.answer.get("attempts", 0) <= 1
        slow.wait(60)
        assert slow.answer["attempts"] == 1
        figures.append(
            f"up stopped by SIGTERM under load after {took:.1f} s; {len(load.accepted)} accepted, 0 lost, no process left"
        )
    finally:
        service.stop()


@pytest.mark.slow
def test_killed_up_leaves_no_orphan_and_the_next_goes_on(tmp_path: Path, figures: list[str]) -> None:
    service = Service(tmp_path / "home")
    with_poison(service)
    client = Client(service.url)
    done = client.predict(FLOWER)
    result = done.wait(30)
    family = service.family()
    with Load(service.url, seconds=0.05) as load:
        until(lambda: len(load.accepted) > 60, 20, "there is load")
        service.kill()
        gone = until(lambda: alive(family) == [], 5, "every process is gone")
    since = time.monotonic()
    service = Service(tmp_path / "home", service.settings.port)
    try:
        took = settle(load, within=service.settings.lease + 10)
        assert client.result(done.id).result == result
        assert client.model("iris")["aliases"]["champion"] == 1
        figures.append(
            f"all processes gone {gone:.1f} s after kill -9 of up; {len(load.accepted)} accepted, 0 lost, "
            f"settled {took:.1f} s after the next was ready ({time.monotonic() - since:.1f} s after it was started)"
        )
    finally:
        service.stop()


@pytest.mark.slow
def test_up_survives_kill_9_of_each_child_under_load(up: Service, figures: list[str]) -> None:
    """Each child is restarted, and every accepted job ends."""
    with_poison(up)
    Client(up.url).predict(FLOWER).wait(30)
    with Load(up.url, seconds=0.02) as load:
        for name in NAMES:
            accepted = len(load.accepted)
            until(lambda: name in up.children(), 20, f"{name} runs")  # noqa: B023
            before = up.children()[name]
            before.kill()
            took = until(lambda: up.children().get(name, before).pid != before.pid, 10, f"{name} runs again")  # noqa: B023
            until(lambda: len(load.accepted) > accepted + 20, 20, f"jobs are accepted after {name} died")  # noqa: B023
            figures.append(f"up started {name} again {took:.1f} s after its kill -9")
    took = settle(load, within=up.settings.lease + 10)
    counts = f"{len(load.accepted)} accepted, {dict(load.refused)} refused"
    figures.append(f"kill -9 of each child in turn: {counts}, 0 lost, settled after {took:.1f} s")
    ready = Client(up.url).ready()
    assert ready["workers"]["train"] >= 1
    family = up.family()
    assert up.stop(signal.SIGINT) == 0
    assert alive(family) == []


def test_own_redis_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="MLDEPLOY_REDIS_URL does not answer"):
        Service(tmp_path / "home", redis_url="unix:///nowhere/redis.sock")


def test_own_redis_that_may_lose_data_is_refused_with_what_to_change(tmp_path: Path) -> None:
    pieces = Pieces(Settings(), tmp_path / "forgetful")
    pieces.redis()
    pieces.ledger.redis.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(AssertionError, match="CONFIG SET appendfsync always"):
            Service(tmp_path / "home", redis_url=pieces.settings.redis_url)
    finally:
        pieces.stop()


@pytest.mark.slow
def test_own_redis_is_used_and_left_running(tmp_path: Path, redis_url: str) -> None:
    service = Service(tmp_path / "home", redis_url=redis_url, key_prefix="yours")
    try:
        assert "Redis of yours" in service.ready_line
        assert "redis" not in service.children()
        assert Client(service.url).predict(FLOWER).wait(30)["prediction"] == "setosa"
    finally:
        assert service.stop() == 0
