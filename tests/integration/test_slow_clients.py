"""Time-outs of a connection: silent, dribbling, idle and non-reading clients are disconnected."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from msgspec.structs import replace

from settings import Settings
from tests.callers import Caller
from tests.echo_server import LIMITS, Echo, echo_server
from tests.poison import row, without_workers
from tests.processes import Pieces, until
from tests.wire import HOST, LIVE, Wire, is_answered, request

HEAD, IDLE = 2.0, 4.0
GRACE, WINDOW, PACE = 1.5, 1.5, 2000
SLACK = 3.0  # seconds: the machine is busy, and the server looks once a second


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers."""
    settings = Settings(header_timeout=HEAD, idle_timeout=IDLE)
    with without_workers(settings, tmp_path_factory.mktemp("slow")) as pieces:
        yield pieces


@pytest.fixture
def wire(queue: Pieces) -> Iterator[Wire]:
    with Wire(queue.settings.port) as opened:
        yield opened


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    """Start a server with short time-outs where they are no settings. Returns its port."""
    with echo_server(replace(LIMITS, grace=GRACE, read_window=WINDOW, body_pace=PACE)) as port:
        yield port


def seconds_until_ended(wire: Wire, dribble: Callable[[], object] = lambda: None) -> float:
    """Call ``dribble`` again and again until the server answers or closes. Returns the seconds."""
    since = time.monotonic()

    def is_over() -> bool:
        try:
            dribble()
        except ConnectionError:
            return True
        return wire.has_something()

    until(is_over, 20, "the server loses its patience")
    return time.monotonic() - since


def test_connection_without_a_first_byte_is_closed(wire: Wire) -> None:
    assert HEAD - 0.5 < seconds_until_ended(wire) < HEAD + SLACK
    assert wire.ended()


@pytest.mark.parametrize("head", [b"GET /", b"GET /health/live HTTP/1.1\r\n", b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-A: "])
def test_head_has_one_time_out_in_all(wire: Wire, head: bytes) -> None:
    """It holds however many bytes arrive meanwhile."""
    wire.send(head)
    took = seconds_until_ended(wire, lambda: wire.send(b"A"))
    assert HEAD - 0.5 < took < HEAD + SLACK
    assert {answer.status for answer in wire.read_all()} <= {408}


def test_second_head_has_the_same_time_out(wire: Wire) -> None:
    assert wire.send(LIVE).read().status == 200
    wire.send(b"GET /")
    assert HEAD - 0.5 < seconds_until_ended(wire, lambda: wire.send(b"A")) < HEAD + SLACK


def test_idle_connection_is_closed(wire: Wire) -> None:
    assert wire.send(LIVE).read().status == 200
    assert IDLE - 0.5 < seconds_until_ended(wire) < IDLE + SLACK
    assert wire.ended()


@pytest.mark.slow
def test_connection_whose_request_is_in_hand_is_not_idle(queue: Pieces, wire: Wire) -> None:
    job = Caller(queue.url).post("/predict?model=poison", json=row(1)).json()
    wait = IDLE + 2
    assert wire.send(request("GET", f"{job['result_url']}?wait={wait}")).read().status == 202
    with Wire(queue.settings.port) as stream:
        stream.send(request("GET", job["result_url"], b"", "Accept: text/event-stream"))
        assert wire.send(request("GET", f"{job['result_url']}?wait={wait}")).read().status == 202
        Caller(queue.url).delete(job["result_url"])
        assert b"event: canceled" in stream.read().body


@pytest.mark.slow
def test_body_slower_than_its_pace_is_refused(wire: Wire) -> None:
    """Its first ten seconds do not count."""
    wire.send(b"POST /predict?model=poison HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
    assert 9.5 < seconds_until_ended(wire, lambda: wire.send(b" ")) < 10 + SLACK
    answer = wire.read()
    assert (answer.status, answer.problem) == (408, "slow-body")
    assert wire.ended()


@pytest.mark.parametrize(
    ("head", "bit"),
    [
        (b"Content-Length: 50000\r\n", b" "),
        (b"Transfer-Encoding: chunked\r\n", b"1\r\n \r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"1;" + b"a" * 50 + b"\r\n \r\n"),
    ],
)
@pytest.mark.slow
def test_body_of_any_kind_has_a_pace(impatient: int, head: bytes, bit: bytes) -> None:
    with Wire(impatient) as wire:
        wire.send(b"POST /a HTTP/1.1\r\n" + HOST + head + b"\r\n")
        assert GRACE - 0.5 < seconds_until_ended(wire, lambda: wire.send(bit)) < GRACE + SLACK
        assert wire.read().body == b"SlowBody"
        assert wire.ended()


def test_trailers_have_no_more_time_than_the_body(impatient: int) -> None:
    with Wire(impatient) as wire:
        wire.send(b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        assert seconds_until_ended(wire, lambda: wire.send(b"X-A: b\r\n")) < GRACE + SLACK


@pytest.mark.slow
def test_body_that_keeps_its_pace_has_its_time(impatient: int) -> None:
    """It takes longer than the grace period."""
    body, parts = b" " * 50_000, 100
    with Wire(impatient) as wire:
        wire.send(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body))
        for part in range(parts):
            wire.send(body[part * 500 : (part + 1) * 500])
            time.sleep((GRACE + 3) / parts)  # the pace that is tested
        assert wire.read().status == 200


@pytest.mark.parametrize("target", ["/large?20000000", "/stream?20000000"])
def test_client_that_never_reads_is_closed(target: str) -> None:
    echo = Echo()
    with echo_server(replace(LIMITS, read_window=WINDOW, body_pace=PACE), echo) as port, Wire(port) as wire:
        wire.send(request("GET", target))
        until(lambda: is_reset(wire), WINDOW * 2 + SLACK, "it is closed")
        until(lambda: echo.streams == 0, 2, "nothing is made for it")


@pytest.mark.slow
def test_unread_last_answer_keeps_no_connection_open() -> None:
    """The answers are small enough for the kernel, a little larger, or much larger than the write buffer."""
    with echo_server(replace(LIMITS, read_window=WINDOW, body_pace=PACE)) as port, ExitStack() as stack:
        wires = []
        for size in range(50_000, 4_000_000, 50_000):
            wires.append(stack.enter_context(Wire(port)))
            wires[-1].send(request("GET", f"/large?{size}", b"", "Connection: close"))
        until(lambda: all(map(is_reset, wires)), WINDOW * 2 + SLACK, "all are closed")


def is_reset(wire: Wire) -> bool:
    """Return whether the connection was reset, without reading from it."""
    try:
        wire.send(b"x")
    except ConnectionError:
        return True
    return False


@pytest.mark.slow
def test_slow_reader_is_answered(impatient: int) -> None:
    with Wire(impatient) as wire:
        wire.send(request("GET", "/stream?20000000"))
        taken, since = 0, time.monotonic()
        while time.monotonic() - since < WINDOW * 2 + 2:
            taken += len(wire.socket.recv(16384))
            time.sleep(0.01)  # the pace that is tested
        assert wire.is_open()
        assert taken > PACE * WINDOW


def test_client_that_sends_and_never_reads_costs_little(queue: Pieces, wire: Wire) -> None:
    (process,) = queue.api_processes()
    before = process.memory_info().rss
    wanted = request("GET", "/openapi.json") * 50
    wire.socket.settimeout(2)
    with suppress(TimeoutError):
        for _ in range(100_000):
            wire.send(wanted)
        pytest.fail("the server took all that came")
    assert process.memory_info().rss - before < 20_000_000
    assert is_answered(queue.settings.port)
