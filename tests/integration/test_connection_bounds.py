"""Limits of connections, per address and in all: at the limit an idle connection makes room for a new one."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from api.server.connections import FIRST_BYTE_GRACE
from settings import Settings
from tests.callers import Caller
from tests.poison import row, without_workers
from tests.processes import Pieces, until
from tests.wire import HOST, LIVE, Wire, is_answered, request

PER_ADDRESS, IN_ALL = 20, 60
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers."""
    settings = Settings(api_connections_per_address=PER_ADDRESS, api_connections=IN_ALL)
    with without_workers(settings, tmp_path_factory.mktemp("bounds")) as pieces:
        yield pieces


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def opened(stack: ExitStack, queue: Pieces, many: int, first: bytes = b"", address: str = "127.0.0.1") -> list[Wire]:
    wires = []
    for _ in range(many):
        wires.append(stack.enter_context(Wire(queue.settings.port, address)))
        wires[-1].send(first)
    return wires


def still_open(wires: list[Wire]) -> int:
    return sum(wire.is_open() for wire in wires)


def test_address_at_its_limit_loses_its_own_idle_connections(queue: Pieces, stack: ExitStack) -> None:
    (other,) = opened(stack, queue, 1, address=OTHER)
    mine = opened(stack, queue, PER_ADDRESS)
    assert is_answered(queue.settings.port)
    until(lambda: still_open(mine) < PER_ADDRESS, 5, "one of them made room")
    assert other.send(LIVE).read().status == 200


def test_half_open_ones_go_before_idle_ones_and_oldest_first(queue: Pieces, stack: ExitStack) -> None:
    idle = opened(stack, queue, PER_ADDRESS // 2, LIVE)
    assert {wire.read().status for wire in idle} == {200}
    silent = opened(stack, queue, PER_ADDRESS // 2)
    assert is_answered(queue.settings.port)
    until(lambda: not silent[0].is_open(), 5, "the oldest silent one made room")
    assert still_open(idle) == len(idle)
    assert still_open(silent[1:]) >= len(silent) - 2


def test_new_connection_is_not_evicted_before_idle_ones(queue: Pieces, stack: ExitStack) -> None:
    idle = opened(stack, queue, PER_ADDRESS, LIVE)
    assert {wire.read().status for wire in idle} == {200}
    time.sleep(2 * FIRST_BYTE_GRACE)  # the time that is measured
    newcomers = opened(stack, queue, PER_ADDRESS // 2)
    until(lambda: still_open(idle) == PER_ADDRESS // 2, 5, "idle ones made room")
    assert {wire.send(LIVE).read().status for wire in newcomers} == {200}


def test_address_whose_requests_are_all_in_hand_is_refused_and_others_are_not(queue: Pieces, stack: ExitStack) -> None:
    job = Caller(queue.url).post("/predict?model=poison", json=row(1)).json()
    waiting = request("GET", f"{job['result_url']}?wait=20")
    busy = opened(stack, queue, PER_ADDRESS, waiting, OTHER)
    until(lambda: turned_away(queue, OTHER), 5, "there is no room for one more")
    assert is_answered(queue.settings.port, OTHER), "a health check is"
    assert is_answered(queue.settings.port)
    assert still_open(busy) == PER_ADDRESS
    Caller(queue.url).delete(job["result_url"])
    assert {wire.read().json["status"] for wire in busy} == {"canceled"}
    assert is_answered(queue.settings.port, OTHER)


def turned_away(queue: Pieces, address: str) -> bool:
    with Wire(queue.settings.port, address) as wire:
        answer = wire.send(request("GET", "/models")).read()
    return (answer.status, answer.problem) == (503, "too-many-connections")


@pytest.mark.parametrize("first", [b"", b"GET / HT", b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{", LIVE])
def test_new_clients_are_answered_when_all_places_are_taken(queue: Pieces, stack: ExitStack, first: bytes) -> None:
    for number in range(2 * IN_ALL // PER_ADDRESS + 1):
        opened(stack, queue, PER_ADDRESS, first, f"127.0.1.{number + 1}")
        assert is_answered(queue.settings.port)
    assert is_answered(queue.settings.port, OTHER)
    assert Caller(queue.url).post("/predict?model=poison", json=row(1)).status_code == 202


def test_requests_in_hand_survive_a_crowd(queue: Pieces, stack: ExitStack) -> None:
    job = Caller(queue.url).post("/predict?model=poison", json=row(1)).json()
    busy = opened(stack, queue, PER_ADDRESS // 2, request("GET", f"{job['result_url']}?wait=20"), OTHER)
    for number in range(2 * IN_ALL // PER_ADDRESS):
        opened(stack, queue, PER_ADDRESS, address=f"127.0.1.{number + 1}")
    assert is_answered(queue.settings.port)
    assert still_open(busy) == len(busy)
    Caller(queue.url).delete(job["result_url"])
    assert {wire.read().status for wire in busy} == {200}


def test_process_without_descriptors_goes_on(queue: Pieces, stack: ExitStack) -> None:
    """On EMFILE new clients are disconnected at once, and later ones are answered."""
    (process,) = queue.api_processes()
    soft, hard = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 10, hard))
    try:
        for number in range(3):
            with suppress(ConnectionError):
                opened(stack, queue, PER_ADDRESS // 2, address=f"127.0.1.{number + 1}")
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_answered(queue.settings.port)


def test_bound_in_all_comes_from_the_limit_of_descriptors(tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> None:
    """No setting is made."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = tmp_path_factory.mktemp("few")
    pieces = stack.enter_context(without_workers(Settings(), folder))
    (process,) = pieces.api_processes()
    assert process.rlimit(resource.RLIMIT_NOFILE)[0] >= min(hard, 100_000)
