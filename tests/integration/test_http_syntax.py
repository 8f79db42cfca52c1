"""Ambiguous requests are refused and end the connection, so nothing can be smuggled behind them."""

from collections.abc import Iterator

import pytest

from settings import Settings
from tests.poison import without_workers
from tests.wire import HOST, LIVE, Wire, request

POST = b"POST /predict HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /health/live HTTP/1.1\r\n"
AMBIGUOUS = {
    "no Host": GET + b"\r\n",
    "two Hosts": GET + HOST + HOST + b"\r\n",
    "two different Hosts": GET + HOST + b"Host: localhost\r\n\r\n",
    "a Host with a space": GET + b"Host: 127.0.0.1 evil\r\n\r\n",
    "a Host with a path": GET + b"Host: 127.0.0.1/evil\r\n\r\n",
    "a Host with a user": GET + b"Host: evil@127.0.0.1\r\n\r\n",
    "an empty line that ends in LF": GET + HOST + b"\n",
    "a request line that ends in LF": b"GET /health/live HTTP/1.1\n" + HOST + b"\r\n",
    "a header that ends in LF": GET + b"Host: 127.0.0.1\n\r\n",
    "only LF": b"GET /health/live HTTP/1.1\nHost: 127.0.0.1\n\n",
    "a bare CR in a header": GET + HOST + b"X-A: b\rX-C: d\r\n\r\n",
    "a folded header": GET + HOST + b"X-A: b\r\n c\r\n\r\n",
    "a header that begins with a space": GET + b" X-A: b\r\n" + HOST + b"\r\n",
    "a space before the colon": GET + HOST + b"Content-Length : 0\r\n\r\n",
    "a tab before the colon": GET + HOST + b"X-A\t: b\r\n\r\n",
    "no colon": GET + HOST + b"X-A\r\n\r\n",
    "no name": GET + HOST + b": b\r\n\r\n",
    "a name that is no token": GET + HOST + b"X(A): b\r\n\r\n",
    "NUL in a header": GET + HOST + b"X-A: b\x00c\r\n\r\n",
    "a control character in a header": GET + HOST + b"X-A: b\x01c\r\n\r\n",
    "DEL in a header": GET + HOST + b"X-A: b\x7fc\r\n\r\n",
    "NUL in a name": GET + HOST + b"X\x00A: b\r\n\r\n",
    "NUL in the target": b"GET /health/\x00live HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in the target": b"GET /health/\x01live HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /health/ live HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /health/live\r\n\r\n",
    "another protocol": b"GET /health/live ICAP/1.0\r\n" + HOST + b"\r\n",
    "a version of the future": b"GET /health/live HTTP/3.7\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two different lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 3\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a space in it": POST + b"Content-Length: 2 0\r\n\r\n{}",
    "an empty length": POST + b"Content-Length:\r\n\r\n{}",
    "a length of 30 digits": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "chunked, and then something else": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings in two headers": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding nobody knows": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /predict HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"g\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a space before it": CHUNKED + b" 2\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk size that ends in LF": CHUNKED + b"2\n{}\r\n0\r\n\r\n",
    "a chunk extension that ends in LF": CHUNKED + b"2;x\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "a chunk that ends in LF": CHUNKED + b"2\r\n{}\n0\r\n\r\n",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with without_workers(Settings(), tmp_path_factory.mktemp("syntax")) as pieces:
        yield pieces.settings.port


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_ambiguous_request_is_refused_and_the_connection_closed(port: int, what: str) -> None:
    with Wire(port) as wire:
        wire.send(AMBIGUOUS[what] + LIVE)
        refusal = wire.read()
        assert (refusal.status, refusal.problem) == (400, "bad-request"), refusal
        assert refusal.headers["connection"] == "close"
        assert wire.ended(), "nothing behind it is answered"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET + HOST + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (GET + HOST + b"X-A: " + b"a" * 100_000, 431),  # and goes on
        (GET + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n", 431),
        (GET + HOST + b"X-" + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 100_000, 414),
        (CHUNKED + b"1;" + b"a" * 200_000, 400),
        (CHUNKED + b"0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)), 400),
    ],
    ids=["long value", "endless value", "many", "endless name", "long target", "endless target", "endless extension", "trailers"],
)
def test_endless_head_is_refused(port: int, head: bytes, status: int) -> None:
    with Wire(port) as wire:
        wire.send(head)
        refusal = wire.read()
        assert refusal.status in ((status, 431, 413) if status == 400 else (status,)), refusal
        assert refusal.problem
        assert wire.ended()


def test_large_head_within_the_bounds_is_read(port: int) -> None:
    headers = [f"X-{n}: {'a' * 100}" for n in range(50)]
    with Wire(port) as wire:
        assert wire.send(request("GET", "/health/live?" + "a" * 4000, b"", *headers)).read().status in (200, 422)
        assert wire.send(LIVE).read().status == 200


@pytest.mark.parametrize("target", ["http://127.0.0.1/health/live", "/health/live#fragment", "//health/live", "*", "%", "/%zz"])
def test_odd_target_is_answered_by_the_rules(port: int, target: str) -> None:
    with Wire(port) as wire:
        assert wire.send(request("GET", target)).read().status < 500
