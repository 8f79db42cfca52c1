"""One connection: bytes become requests, answered one after the other in the order of their coming."""

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import Protocol, cast

import httptools

from api.server import response
from api.server.body import Body, BodyCut
from api.server.connections import Connections, Peer, Phase, address_of
from api.server.headers import Headers
from api.server.request import BadRequest, Request, check_head, split_target
from api.server.response import Response, Stream
from api.server.timeouts import Deadlines

MAX_HEAD = 65_536  # bytes of a request before its body
MAX_HEADERS = 100
MAX_ABOUT = 8  # bytes about each byte of a body that comes in chunks: a chunk of one byte has five
TOO_LONG = f"An address has at most {MAX_HEAD:,} bytes."
HIGH_WATER = 65_536  # bytes of a body that nobody has asked for yet

log = logging.getLogger("mldeploy.api")


class Application(Protocol):
    async def answer(self, request: Request) -> Response | Stream:
        """Raises nothing."""

    def refuse(self, code: str, detail: str) -> Response:
        """For what is no request."""


class Connection(asyncio.Protocol):
    """The methods without a docstring are those of asyncio.Protocol, and httptools's callbacks."""

    def __init__(self, application: Application, connections: Connections, deadlines: Deadlines) -> None:
        self._application = application
        self._connections = connections
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._requests = deque[Request]()
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        self._gone = set[asyncio.Future[None]]()
        self._writable: asyncio.Future[None] | None = None
        self._refusal: Response | None = None  # of what came last, and was no request
        self._closing = self._is_half_closed = False
        self._bad_head: BadRequest | None = None
        self._came = 0  # bytes since the last request ended
        self._since_body = 0  # of them, since the last byte of a body
        self._start_head()
        self._in_head = self._paused = self._led = False
        self.address = ""
        self.peer: Peer
        self.phase = Phase.OPENING
        self.since = self._loop.time()
        self.over = False

    # What the bounds and time-outs ask for

    def close(self) -> None:
        """Once what was written has left."""
        self._closing = True
        self._transport.close()
        if self.unsent():
            self._deadlines.watch_reader(self)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def time_out(self) -> None:
        """While no whole head has come. Only who has begun is answered."""
        if self._closing:
            self._transport.abort()
        elif self._in_head:
            self._refuse("slow-request", "The head of the request did not arrive in time.")
        else:
            self.close()

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        self.address = address_of(transport.get_extra_info("peername"))
        if not self._connections.add(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        self._connections.remove(self)
        self._deadlines.forget_reader(self)
        for request in self._requests:
            request.body.fail(BodyCut(f"{request.body.received:,} bytes arrived"))
        self._note_gone()
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        if self._streaming and self._task:
            self._task.cancel()

    def eof_received(self) -> bool:
        """The client sends no more, and may still read: it gets the answers to what it has sent, as they are now."""
        if self._closing or self._streaming or not self._requests:
            return False
        last = self._requests[-1]
        last.close = self._is_half_closed = True
        if not last.body.complete:
            last.body.fail(BodyCut(f"{last.body.received:,} bytes arrived"))
        self._note_gone()
        return True

    def _note_gone(self) -> None:
        for future in list(self._gone):
            if not future.done():
                future.set_result(None)

    def pause_writing(self) -> None:
        self._writable = self._writable or self._loop.create_future()
        self._deadlines.watch_reader(self)

    def resume_writing(self) -> None:
        if not self._closing:
            self._deadlines.forget_reader(self)
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def data_received(self, data: bytes) -> None:
        if self._closing or self._refusal:
            return
        self._came += len(data)
        self._since_body += len(data)
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(*_reason(self._bad_head or error))
        else:
            if self._in_head:
                self._note_head()
            elif self._requests and self._is_padded(self._requests[-1].body):
                self._refuse("bad-request", "The chunks of the body have too much about them.")

    def _feed(self, data: bytes) -> bytes:
        """Returns what follows an offer to upgrade, which is not taken. Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade()
            return data[upgrade.args[0] :]
        return b""

    def _go_on_without_upgrade(self) -> None:
        """The parser takes what follows an offer to upgrade for another protocol, also a body: another parser is led up to it."""
        self._parser = httptools.HttpRequestParser(self)
        body = self._requests[-1].body
        if not body.complete:
            length = b"Transfer-Encoding: chunked" if body.declared is None else b"Content-Length: %d" % body.declared
            self._led = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % length)
            self._led = False

    def _note_head(self) -> None:
        """A part of a head has come."""
        if len(self._target) > MAX_HEAD:
            self._refuse("address-too-long", TOO_LONG)
        elif self._came > MAX_HEAD:
            self._refuse("head-too-large", f"A request has at most {MAX_HEAD:,} bytes before its body.")
        elif self.phase is Phase.IDLE:
            self._become(Phase.OPENING)

    def _is_padded(self, body: Body) -> bool:
        if body.declared is not None or body.complete:
            return False
        return self._since_body > 2 * MAX_HEAD or self._came > 2 * MAX_HEAD + (1 + MAX_ABOUT) * body.received

    # httptools

    def on_message_begin(self) -> None:
        if self._led:
            return
        self._start_head()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and not a trailer
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        if self._led:
            return
        try:
            request = self._request()
        except BadRequest as error:
            self._bad_head = error
            raise
        self._in_head = False
        self._requests.append(request)
        if self._task is None:
            self._become(Phase.AT_WORK)
            self._task = self._loop.create_task(self._work())
        else:
            self._pause()

    def on_body(self, data: bytes) -> None:
        self._since_body = 0
        body = self._requests[-1].body
        body.feed(data)
        if body.unread > HIGH_WATER:
            self._pause()

    def on_message_complete(self) -> None:
        body = self._requests[-1].body
        if body.declared != 0 and self._parser.should_upgrade():
            return  # it is still to come
        self._came = 0
        body.end()
        if self.phase is Phase.RECEIVING:
            self._become(Phase.AT_WORK)

    def _start_head(self) -> None:
        self._in_head = True
        self._target = b""
        self._pairs: list[tuple[bytes, bytes]] = []

    def _request(self) -> Request:
        """Raises BadRequest."""
        parser, headers = self._parser, Headers(self._pairs)
        if len(self._target) > MAX_HEAD:
            raise BadRequest("address-too-long", TOO_LONG)
        if len(self._pairs) > MAX_HEADERS or sum(len(name) + len(value) for name, value in self._pairs) > MAX_HEAD:
            raise BadRequest("head-too-large", f"A request has at most {MAX_HEADERS} headers, of {MAX_HEAD:,} bytes.")
        version = parser.get_http_version()
        declared = check_head(headers, version, chunked="transfer-encoding" in headers)
        path, query = split_target(self._target, headers.get("host"))
        return Request(
            method=parser.get_method().decode(),
            path=path,
            query=query,
            headers=headers,
            body=Body(declared, self._begin_body),
            address=self.address,
            gone=self._until_gone,
            http10=version == "1.0",
            close=not parser.should_keep_alive() or self.over,
            over=self.over,
        )

    # Answers

    async def _work(self) -> None:
        while self._requests and not self._closing:
            request = self._requests[0]
            answer = await self._application.answer(request)
            if not self._closing:
                await self._send(request, answer)
            self._requests.popleft()
            if self._requests:
                await asyncio.sleep(0)  # one who sends many at once leaves the others their turns
        self._task = None
        if not self._closing:
            self._rest()

    def _rest(self) -> None:
        """All that came is answered."""
        if self._refusal:
            self._end_with(self._refusal)
            return
        self._resume()
        self._become(Phase.OPENING if self._in_head else Phase.IDLE)

    async def _send(self, request: Request, answer: Response | Stream) -> None:
        """The connection ends with it if its body is not to be had, or if there was no need for more."""
        last = request.close or not request.body.complete or self._connections.draining
        if isinstance(answer, Stream):
            await self._stream(request, answer, last)
            last = last or request.http10
        else:
            self._write(*response.whole(answer, request.method, _connection(request.http10, last)))
        if self._writable:
            await self._writable
        if last and not self._closing:
            self._end(request.body.complete)

    async def _stream(self, request: Request, stream: Stream, last: bool) -> None:
        """Until it ends, or the client is gone."""
        more = _connection(request.http10, last or request.http10)
        self._write(response.head(stream.status, stream.headers, more if request.http10 else f"{more}{response.CHUNKED}"))
        self._streaming = True
        try:
            async with aclosing(stream.chunks) as chunks:
                if request.method == "HEAD":
                    return
                async for data in chunks:
                    self._write(data if request.http10 else response.chunk(data))
                    if self._writable:
                        await self._writable
            if not request.http10:
                self._write(response.LAST_CHUNK)
        except asyncio.CancelledError:
            if not self._closing:
                raise
        except Exception:
            log.exception("%s %s: the stream failed", request.method, request.path)
            self.abort()
        finally:
            self._streaming = False

    def _begin_body(self, body: Body) -> None:
        request = self._requests[0]
        if not body.received and not request.http10 and "expect" in request.headers:
            self._write(response.CONTINUE)
        self._deadlines.watch_body(body)
        self._become(Phase.RECEIVING)
        self._resume()

    def _until_gone(self) -> "asyncio.Future[None]":
        future = self._loop.create_future()
        if self._closing or self._is_half_closed:
            future.set_result(None)
        else:
            self._gone.add(future)
            future.add_done_callback(self._gone.discard)
        return future

    def _refuse(self, code: str, detail: str) -> None:
        """What came is no request, or no body: that of the one before is cut, and after its answer there are no more."""
        self._refusal = self._application.refuse(code, detail)
        if self._requests:
            self._requests[-1].body.fail(BadRequest(code, detail))
        else:
            self._end_with(self._refusal)

    def _end_with(self, answer: Response) -> None:
        self._write(*response.whole(answer, "GET", response.CLOSE))
        self._end(whole=False)

    def _end(self, whole: bool) -> None:
        """If more is on its way that is not read, it is taken and dropped for a while: to close at once would take the answer
        away from a client that is still sending (RFC 9112, section 9.6)."""
        if whole or self._is_half_closed:
            self.close()
            return
        self._closing = True
        self._transport.write_eof()
        self._resume()
        self._become(Phase.OPENING)

    def _become(self, phase: Phase) -> None:
        self.since = self._loop.time()
        self._connections.move(self, phase)

    def _write(self, *data: bytes) -> None:
        if not self._closing:
            for part in data:
                self._transport.write(part)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._is_half_closed:
            self._paused = False
            self._transport.resume_reading()


def _connection(http10: bool, last: bool) -> str:
    """The header that tells whether there may be another request."""
    if last:
        return response.CLOSE
    return "Connection: keep-alive\r\n" if http10 else ""


def _reason(error: Exception) -> tuple[str, str]:
    if isinstance(error, BadRequest):
        return error.code, str(error)
    return "bad-request", f"This is no HTTP/1.1: {error}"
