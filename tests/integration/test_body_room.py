"""Limits of request bodies in memory: bytes that arrived count, not the declared ones, and no caller takes all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from settings import Settings
from tests.callers import Caller
from tests.poison import row, without_workers
from tests.processes import Pieces, until
from tests.wire import HOST, Response, Wire

MAX_BODY = 1_000_000
OTHER = "127.0.0.2"
POISON = "/predict?model=poison"


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers."""
    with without_workers(Settings(max_body=MAX_BODY), tmp_path_factory.mktemp("room")) as pieces:
        yield pieces


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def head(length: int, *headers: bytes) -> bytes:
    lines = [b"POST /predict?model=poison HTTP/1.1\r\n", HOST, b"Content-Length: %d\r\n" % length, *headers]
    return b"".join(lines) + b"\r\n"


def sending(stack: ExitStack, queue: Pieces, many: int, sent: int, address: str = "127.0.0.1") -> list[Wire]:
    """Declare whole bodies and send only this many bytes of each."""
    wires = [stack.enter_context(Wire(queue.settings.port, address)) for _ in range(many)]
    for wire in wires:
        wire.send(head(MAX_BODY), b" " * sent)
    return wires


def refusals(wires: list[Wire]) -> list[Response]:
    return [wire.read() for wire in wires if wire.has_something()]


def test_declared_bytes_do_not_count(queue: Pieces, stack: ExitStack) -> None:
    """Ten times as many bodies as fit are declared."""
    wires = sending(stack, queue, 250, 1)
    assert Caller(queue.url).post(POISON, json=row(1)).status_code == 202
    assert not refusals(wires)


def test_caller_over_its_share_is_refused_and_others_are_not(queue: Pieces, stack: ExitStack) -> None:
    wires = sending(stack, queue, 24, MAX_BODY - 1)
    until(lambda: any(wire.has_something() for wire in wires), 10, "one has more than its share")
    refused = refusals(wires)
    assert {(answer.status, answer.problem) for answer in refused} == {(503, "too-many-uploads")}
    assert all(answer.headers["retry-after"] for answer in refused)
    assert len(refused) < len(wires)
    with Wire(queue.settings.port, OTHER) as other:
        assert other.send(head(MAX_BODY), b" " * MAX_BODY).read().status == 400  # no JSON


def test_room_is_released(queue: Pieces, stack: ExitStack) -> None:
    """Room is released when the body ends, is refused, or its client disconnects."""
    ends: list[Callable[[Wire], object]] = [lambda wire: wire.send(b" "), lambda wire: wire.socket.close()]
    for end in ends:
        wires = sending(stack, queue, 24, MAX_BODY - 1)
        until(lambda: any(wire.has_something() for wire in wires), 10, "one has more than its share")  # noqa: B023
        for wire in wires:
            if not wire.has_something():
                end(wire)
        until(lambda: is_received(queue), 10, "there is room again")


def is_received(queue: Pieces) -> bool:
    with Wire(queue.settings.port) as wire:
        return wire.send(head(MAX_BODY), b" " * MAX_BODY).read().status == 400  # no JSON
