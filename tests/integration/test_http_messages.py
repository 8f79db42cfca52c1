"""HTTP/1.1 as RFC 9112 defines it: pipelines, chunks, 100 Continue, HEAD, HTTP/1.0 and the end of a connection."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from msgspec import json

from settings import Settings
from tests.callers import Caller
from tests.poison import row, without_workers
from tests.processes import Pieces
from tests.wire import HOST, LIVE, Wire, request

POISON = "/predict?model=poison"
MAX_BODY = 300_000


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers."""
    with without_workers(Settings(max_body=MAX_BODY), tmp_path_factory.mktemp("messages")) as pieces:
        yield pieces


@pytest.fixture
def wire(queue: Pieces) -> Iterator[Wire]:
    with Wire(queue.settings.port) as opened:
        yield opened


def body_of(number: int) -> bytes:
    return json.encode(row(number))


def chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n"


def post_chunked(body: bytes) -> bytes:
    return f"POST {POISON} HTTP/1.1\r\n".encode() + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body


def is_reusable(wire: Wire) -> bool:
    return wire.send(LIVE).read().status == 200


def test_pipelined_requests_are_answered_in_order(queue: Pieces, wire: Wire) -> None:
    """This holds also behind a request that waits."""
    job = Caller(queue.url).post(POISON, json=row(1)).json()
    wire.send(
        request("GET", job["result_url"] + "?wait=1")
        + request("POST", POISON, body_of(2))
        + request("GET", "/nowhere")
        + LIVE
        + post_chunked(chunked(body_of(3), 4) + b"\r\n")
        + request("GET", "/models/poison")
    )
    assert [wire.read().status for _ in range(6)] == [202, 202, 404, 200, 202, 200]


def test_hundreds_of_pipelined_requests_are_all_answered(wire: Wire) -> None:
    wire.send(LIVE * 500)
    assert {wire.read().status for _ in range(500)} == {200}


def test_thousands_of_offers_to_upgrade_are_declined_and_answered(wire: Wire) -> None:
    offer = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"
    wire.send(offer * 4000)
    assert {wire.read().status for _ in range(4000)} == {200}


def test_trailers_are_bounded_however_large_the_body_was(wire: Wire) -> None:
    wire.send(post_chunked(chunked(b" " * 60_000, 60_000)))
    with suppress(ConnectionError):  # it may be refused before all of it is sent
        for _ in range(40):
            wire.send(b"X-Trailer: " + b"x" * 10_000 + b"\r\n")
    answer = wire.read()
    assert (answer.status, answer.problem) == (400, "bad-request")


def test_nothing_behind_connection_close_is_answered(wire: Wire) -> None:
    wire.send(request("GET", "/health/live", b"", "Connection: close") + LIVE)
    (answer,) = wire.read_all()
    assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("extension", [b"", b';name="a;b"'])
def test_chunked_body_is_read(wire: Wire, size: int, extension: bytes) -> None:
    wire.send(post_chunked(chunked(body_of(1), size, extension) + b"X-Trailer: is ignored\r\n\r\n"))
    assert wire.read().status == 202
    assert is_reusable(wire)


def test_chunked_body_over_the_limit_is_refused(wire: Wire) -> None:
    wire.send(post_chunked(chunked(b" " * (MAX_BODY + 1), 60_000)))
    answer = wire.read()
    assert (answer.status, answer.problem) == (413, "body-too-large")


def test_100_continue_is_sent_for_an_expected_body(wire: Wire) -> None:
    body = body_of(1)
    wire.send(request("POST", POISON, body, "Expect: 100-continue").removesuffix(body))
    assert wire.read().status == 100
    assert wire.send(body).read().status == 202
    assert is_reusable(wire)


def test_100_continue_is_sent_for_an_expected_chunked_body(wire: Wire) -> None:
    wire.send(f"POST {POISON} HTTP/1.1\r\n".encode() + HOST + b"Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n")
    assert wire.read().status == 100
    assert wire.send(chunked(body_of(1), 5) + b"\r\n").read().status == 202
    assert is_reusable(wire)


def test_body_that_did_not_wait_for_100_is_read(wire: Wire) -> None:
    wire.send(request("POST", POISON, body_of(1), "Expect: 100-continue"))
    answers = [wire.read()]
    if answers[0].status == 100:
        answers.append(wire.read())
    assert answers[-1].status == 202
    assert is_reusable(wire)


@pytest.mark.parametrize(
    ("target", "length", "status"),
    [("/nowhere", 10, 404), (POISON, MAX_BODY + 1, 413), (POISON + "&no=such", 10, 0), ("/health/live", 10, 405)],
)
def test_no_100_continue_for_a_body_that_would_be_refused(wire: Wire, target: str, length: int, status: int) -> None:
    wire.send(request("POST", target, b"", "Expect: 100-continue", f"Content-Length: {length}"))
    answer = wire.read()
    assert answer.status == (status or 100)


def test_expectation_that_cannot_be_met_is_refused(wire: Wire) -> None:
    answer = wire.send(request("POST", POISON, body_of(1), "Expect: miracles")).read()
    assert (answer.status, answer.problem) == (417, "expectation-failed")


def test_head_has_no_body(wire: Wire) -> None:
    whole = wire.send(request("GET", "/models/poison")).read()
    head = wire.send(request("HEAD", "/models/poison")).read(head_only=True)
    assert (head.status, head.headers["content-type"]) == (200, whole.headers["content-type"])
    assert is_reusable(wire)


def test_head_of_a_stream_ends_at_once(queue: Pieces, wire: Wire) -> None:
    job = Caller(queue.url).post(POISON, json=row(1)).json()
    head = wire.send(request("HEAD", job["result_url"], b"", "Accept: text/event-stream")).read(head_only=True)
    assert head.status == 200
    assert is_reusable(wire)


def test_http_1_0_is_answered_and_ended(wire: Wire) -> None:
    (answer,) = wire.send(b"GET /health/live HTTP/1.0\r\n\r\n").read_all()
    assert answer.status == 200
    assert len(answer.body) == int(answer.headers["content-length"])


def test_http_1_0_keep_alive_is_honoured(wire: Wire) -> None:
    answer = wire.send(b"GET /health/live HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n").read()
    assert (answer.status, answer.headers["connection"].lower()) == (200, "keep-alive")
    assert is_reusable(wire)


def test_http_1_0_gets_a_stream_without_chunks(queue: Pieces, wire: Wire) -> None:
    job = Caller(queue.url).post(POISON, json=row(1)).json()
    wire.send(f"GET {job['result_url']} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
    Caller(queue.url).delete(job["result_url"])
    (answer,) = wire.read_all()
    assert "transfer-encoding" not in answer.headers
    assert b"event: canceled" in answer.body


def test_stream_that_ended_leaves_the_connection_usable(queue: Pieces, wire: Wire) -> None:
    job = Caller(queue.url).post(POISON, json=row(1)).json()
    wire.send(request("GET", job["result_url"], b"", "Accept: text/event-stream"))
    Caller(queue.url).delete(job["result_url"])
    assert b"event: canceled" in wire.read().body
    assert is_reusable(wire)


def test_every_response_says_when_it_was_made(wire: Wire) -> None:
    assert wire.send(LIVE).read().headers["date"].endswith(" GMT")
    assert wire.send(request("GET", "/nowhere")).read().headers["date"].endswith(" GMT")


def test_empty_lines_before_a_request_are_skipped(wire: Wire) -> None:
    assert wire.send(b"\r\n\r\n" + LIVE).read().status == 200


def test_body_of_a_get_is_read_and_not_taken_for_a_request(wire: Wire) -> None:
    wire.send(request("GET", "/health/live", LIVE))
    assert wire.read().status == 200
    assert is_reusable(wire)


@pytest.mark.parametrize("target", ["/nowhere", "/health/live"])
def test_client_that_still_sends_reads_why_it_was_refused(wire: Wire, target: str) -> None:
    """Nothing of its body is taken for a request."""
    wire.send(request("POST", target, LIVE.ljust(MAX_BODY, b" ")))
    answer = wire.read()
    assert answer.status in (404, 405)
    assert answer.headers.get("connection") == "close" or is_reusable(wire)


def test_client_that_sends_more_than_it_may_reads_413(wire: Wire) -> None:
    body = b" " * (MAX_BODY * 2)
    wire.send(request("POST", POISON, body))
    assert wire.read().status == 413


def test_body_cut_short_is_no_job(queue: Pieces) -> None:
    jobs = len(Caller(queue.url).get("/jobs").json()["jobs"])
    body = body_of(1)
    for part in (body[:-1], b""):
        with Wire(queue.settings.port) as wire:
            wire.send(request("POST", POISON, body)[: -len(body)] + part)
            wire.socket.shutdown(1)
            assert wire.ended() or wire.read().status == 400
    assert len(Caller(queue.url).get("/jobs").json()["jobs"]) == jobs


@pytest.mark.parametrize("wanted", [LIVE, request("GET", "/jobs"), request("POST", POISON, body_of(1), "Prefer: wait=20")])
def test_client_that_sends_no_more_is_answered(wire: Wire, wanted: bytes) -> None:
    wire.send(wanted)
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.read().status in (200, 202)
    assert wire.ended()


def test_thousands_of_pipelined_requests_delay_nobody_else(queue: Pieces) -> None:
    with Wire(queue.settings.port) as greedy, Wire(queue.settings.port) as other:
        greedy.send(LIVE * 4000)
        assert greedy.read().status == 200
        assert other.send(LIVE).read().status == 200
        assert greedy.received_by_now().count(b"HTTP/1.1 200") < 1000, "the other one waited for them"


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("elsewhere.example", 400)])
def test_whole_address_names_the_same_host(wire: Wire, host: str, status: int) -> None:
    wire.send(f"GET http://{host}/health/live HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert wire.read().status == status


def test_compressed_body_is_refused(wire: Wire) -> None:
    answer = wire.send(request("POST", POISON, body_of(1), "Content-Encoding: gzip")).read()
    assert (answer.status, answer.problem) == (415, "unsupported-media-type")
