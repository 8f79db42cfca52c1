"""However the bytes of a request are split, the response is the same."""

import array
import asyncio
import fcntl
import re
import socket
import termios

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.server.connection import Connection
from api.server.connections import Connections
from api.server.timeouts import Deadlines
from tests.echo_server import LIMITS, Echo
from tests.wire import HOST

CHUNKED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
WELL = {
    "headers": b"GET /a%20b?c=%20d HTTP/1.1\r\n" + HOST + b"X-A: 1\r\nX-A:  2 \r\nX-B:\r\n\r\n",
    "an absolute target": b"GET http://127.0.0.1/a?b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a body": b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 12\r\nX-A: b\r\n\r\n{}\r\n\r\nGET / ",
    "no body": b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nX-A: b\r\nX-B: c\r\n\r\n",
    "100 Continue": b"POST /a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "an offer to upgrade": b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an offer to upgrade with a body": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n12345"
    ),
    "a stream": b"GET /stream?3000 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HEAD": b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "an empty line before it": b"\r\nGET /a HTTP/1.1\r\n" + HOST + b"\r\n",
}
BADLY = {
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "LF": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a bad chunk": CHUNKED + b"3\r\nabc\r\nx\r\n",
    "a control character": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: \x01\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a version of the future": b"GET / HTTP/4.2\r\n" + HOST + b"\r\n",
}
MESSAGES = WELL | BADLY


def answers(parts: list[bytes]) -> bytes:
    """Return all that the client reads until the connection ends, when the server reads the bytes in these parts."""
    return asyncio.run(asyncio.wait_for(_answers(parts), 10))


async def _answers(parts: list[bytes]) -> bytes:
    loop, connections = asyncio.get_running_loop(), Connections(LIMITS)
    deadlines = Deadlines(LIMITS, connections)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(lambda: Connection(Echo(), connections, deadlines), theirs)
    reading = loop.create_task(_read_all(ours))
    for part in parts:
        try:
            await loop.sock_sendall(ours, part)
        except ConnectionError:
            break
        while _unread(theirs):
            await asyncio.sleep(0)
    found = await reading
    transport.abort()
    ours.close()
    deadlines.close()
    return re.sub(rb"Date: .*?\r\n|HTTP/1.1 100 Continue\r\n\r\n", b"", found)


async def _read_all(ours: socket.socket) -> bytes:
    found, loop = b"", asyncio.get_running_loop()
    while True:
        try:
            part = await loop.sock_recv(ours, 65536)
        except ConnectionError:  # it had not read all
            return found
        if not part:
            return found
        found += part


def _unread(theirs: socket.socket) -> int:
    """Return the bytes that the server has not read; none when it has closed."""
    if theirs.fileno() < 0:
        return 0
    waiting = array.array("i", [0])
    fcntl.ioctl(theirs, termios.FIONREAD, waiting)
    return waiting[0]


def split(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place for place in places if 0 < place < len(data)})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@pytest.mark.parametrize("what", MESSAGES)
def test_request_split_at_any_byte_is_the_same(what: str) -> None:
    data = MESSAGES[what] + LAST
    whole = answers([data])
    assert whole.count(b"HTTP/1.1 ") == (2 if what in WELL else 1)
    assert (b"/last" in whole) == (what in WELL)
    for place in range(1, len(data)):
        assert answers(split(data, [place])) == whole, data[:place]
    assert answers(split(data, list(range(len(data))))) == whole


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(list(WELL)), max_size=4),
    st.sampled_from(["", *BADLY]),
    st.lists(st.integers(1, 1200), max_size=12),
)
def test_pipeline_split_anywhere_is_the_same(well: list[str], badly: str, places: list[int]) -> None:
    data = b"".join(WELL[what] for what in well) + (BADLY[badly] if badly else b"") + LAST
    assert answers(split(data, places)) == answers([data])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(MESSAGES)), st.integers(0, 300), st.binary(max_size=4), st.lists(st.integers(1, 300), max_size=6))
def test_damaged_request_is_answered_the_same_however_it_is_split(what: str, place: int, junk: bytes, places: list[int]) -> None:
    """There is never more than one response per request."""
    data = MESSAGES[what]
    harmed = data[:place] + junk + data[place + len(junk) :] + b"\r\n\r\n" + LAST + b"\x00"
    assert answers(split(harmed, places)) == answers([harmed])
