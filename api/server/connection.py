"""One connection: parses requests, and sends their responses in the order of the requests."""

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import Protocol, cast

import httptools

from api.server.body import Body, BodyCut
from api.server.connections import Connections, Peer, Phase, address_of
from api.server.headers import Headers
from api.server.request import BadRequest, Request, check_head, split_target
from api.server.response import CHUNKED, CLOSE, CONTINUE, LAST_CHUNK, Response, Stream, encode, encode_chunk, encode_head
from api.server.timeouts import Deadlines

MAX_HEAD = 65_536  # bytes of a request before its body
MAX_HEADERS = 100
MAX_CHUNK_OVERHEAD = 8  # bytes of chunk framing per byte of a chunked body: a chunk of one byte has five
TOO_LONG_DETAIL = f"An address has at most {MAX_HEAD:,} bytes."
HIGH_WATER = 65_536  # bytes of a body that has not been read

log = logging.getLogger("mldeploy.api")


class Application(Protocol):
    async def respond(self, request: Request) -> Response | Stream:
        """Returns the response to a request; never raises."""

    def refuse(self, code: str, detail: str) -> Response:
        """Returns the response to bytes that are not a request."""


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
        self._disconnect_futures = set[asyncio.Future[None]]()
        self._writable: asyncio.Future[None] | None = None
        self._refusal: Response | None = None  # the response to the last bytes, which were not a request
        self._closing = self._is_half_closed = False
        self._bad_head: BadRequest | None = None
        self._received = 0  # bytes since the last request ended
        self._since_body = 0  # bytes since the last byte of a body
        self._start_head()
        self._in_head = self._paused = self._is_substituting = False
        self.address = ""
        self.peer: Peer
        self.phase = Phase.OPENING
        self.since = self._loop.time()
        self.over = False

    # Called by the limits and time-outs

    def close(self) -> None:
        """Closes the connection when all that was written has been sent."""
        self._closing = True
        self._transport.close()
        if self.unsent():
            self._deadlines.watch_reader(self)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def time_out(self) -> None:
        """Closes the connection while no complete head has arrived. A client that has sent a part of one gets a response."""
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
        self._note_disconnect()
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        if self._streaming and self._task:
            self._task.cancel()

    def eof_received(self) -> bool:
        """The client sends no more but may still read: it gets the responses to its requests without further waiting."""
        if self._closing or self._streaming or not self._requests:
            return False
        last = self._requests[-1]
        last.close = self._is_half_closed = True
        if not last.body.complete:
            last.body.fail(BodyCut(f"{last.body.received:,} bytes arrived"))
        self._note_disconnect()
        return True

    def _note_disconnect(self) -> None:
        for future in list(self._disconnect_futures):
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
        self._received += len(data)
        self._since_body += len(data)
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(*_problem_of(self._bad_head or error))
        else:
            if self._in_head:
                self._note_head()
            elif self._requests and self._is_padded(self._requests[-1].body):
                self._refuse("bad-request", "The chunks of the body have too much about them.")

    def _feed(self, data: bytes) -> bytes:
        """Returns the data after a request to upgrade, which is ignored. Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade()
            return data[upgrade.args[0] :]
        return b""

    def _ignore_upgrade(self) -> None:
        """After a request to upgrade, the parser treats all that follows as another protocol, even the body. This replaces it
        by a new parser, which gets a substitute head to be in the same state."""
        self._parser = httptools.HttpRequestParser(self)
        body = self._requests[-1].body
        if not body.complete:
            length = b"Transfer-Encoding: chunked" if body.declared is None else b"Content-Length: %d" % body.declared
            self._is_substituting = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % length)
            self._is_substituting = False

    def _note_head(self) -> None:
        """Checks the size of an incomplete head."""
        if len(self._target) > MAX_HEAD:
            self._refuse("address-too-long", TOO_LONG_DETAIL)
        elif self._received > MAX_HEAD:
            self._refuse("head-too-large", f"A request has at most {MAX_HEAD:,} bytes before its body.")
        elif self.phase is Phase.IDLE:
            self._enter_phase(Phase.OPENING)

    def _is_padded(self, body: Body) -> bool:
        if body.declared is not None or body.complete:
            return False
        return self._since_body > 2 * MAX_HEAD or self._received > 2 * MAX_HEAD + (1 + MAX_CHUNK_OVERHEAD) * body.received

    # httptools

    def on_message_begin(self) -> None:
        if self._is_substituting:
            return
        self._start_head()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and not a trailer
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_substituting:
            return
        try:
            request = self._request()
        except BadRequest as error:
            self._bad_head = error
            raise
        self._in_head = False
        self._requests.append(request)
        if self._task is None:
            self._enter_phase(Phase.AT_WORK)
            self._task = self._loop.create_task(self._respond_in_order())
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
            return  # it follows, see _ignore_upgrade
        self._received = 0
        body.end()
        if self.phase is Phase.RECEIVING:
            self._enter_phase(Phase.AT_WORK)

    def _start_head(self) -> None:
        self._in_head = True
        self._target = b""
        self._pairs: list[tuple[bytes, bytes]] = []

    def _request(self) -> Request:
        """Raises BadRequest."""
        parser, headers = self._parser, Headers(self._pairs)
        if len(self._target) > MAX_HEAD:
            raise BadRequest("address-too-long", TOO_LONG_DETAIL)
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
            disconnected=self._disconnect_future,
            http10=version == "1.0",
            close=not parser.should_keep_alive() or self.over,
            over=self.over,
        )

    # Responses

    async def _respond_in_order(self) -> None:
        while self._requests and not self._closing:
            request = self._requests[0]
            response = await self._application.respond(request)
            if not self._closing:
                await self._send(request, response)
            self._requests.popleft()
            if self._requests:
                await asyncio.sleep(0)  # so that a client with many requests does not delay the others
        self._task = None
        if not self._closing:
            self._finish_requests()

    def _finish_requests(self) -> None:
        """All requests are answered: waits for the next one, or closes."""
        if self._refusal:
            self._end_with(self._refusal)
            return
        self._resume()
        self._enter_phase(Phase.OPENING if self._in_head else Phase.IDLE)

    async def _send(self, request: Request, response: Response | Stream) -> None:
        """Writes a response, and closes the connection after it if the body was not read or no further request may follow."""
        last = request.close or not request.body.complete or self._connections.draining
        if isinstance(response, Stream):
            await self._stream(request, response, last)
            last = last or request.http10
        else:
            self._write(*encode(response, request.method, _connection(request.http10, last)))
        if self._writable:
            await self._writable
        if last and not self._closing:
            self._end(request.body.complete)

    async def _stream(self, request: Request, stream: Stream, last: bool) -> None:
        """Writes a streamed response until it ends or the client has disconnected."""
        more = _connection(request.http10, last or request.http10)
        self._write(encode_head(stream.status, stream.headers, more if request.http10 else f"{more}{CHUNKED}"))
        self._streaming = True
        try:
            async with aclosing(stream.chunks) as chunks:
                if request.method == "HEAD":
                    return
                async for data in chunks:
                    self._write(data if request.http10 else encode_chunk(data))
                    if self._writable:
                        await self._writable
            if not request.http10:
                self._write(LAST_CHUNK)
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
            self._write(CONTINUE)
        self._deadlines.watch_body(body)
        self._enter_phase(Phase.RECEIVING)
        self._resume()

    def _disconnect_future(self) -> "asyncio.Future[None]":
        future = self._loop.create_future()
        if self._closing or self._is_half_closed:
            future.set_result(None)
        else:
            self._disconnect_futures.add(future)
            future.add_done_callback(self._disconnect_futures.discard)
        return future

    def _refuse(self, code: str, detail: str) -> None:
        """Refuses invalid data. The body of the request before is cut, and the connection ends after its response."""
        self._refusal = self._application.refuse(code, detail)
        if self._requests:
            self._requests[-1].body.fail(BadRequest(code, detail))
        else:
            self._end_with(self._refusal)

    def _end_with(self, response: Response) -> None:
        self._write(*encode(response, "GET", CLOSE))
        self._end(whole=False)

    def _end(self, whole: bool) -> None:
        """Closes the connection. If the client is still sending, its data are read and dropped for a while, since an immediate
        close could destroy the response (RFC 9112, section 9.6)."""
        if whole or self._is_half_closed:
            self.close()
            return
        self._closing = True
        self._transport.write_eof()
        self._resume()
        self._enter_phase(Phase.OPENING)

    def _enter_phase(self, phase: Phase) -> None:
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
    """The Connection header, which says whether another request may follow."""
    if last:
        return CLOSE
    return "Connection: keep-alive\r\n" if http10 else ""


def _problem_of(error: Exception) -> tuple[str, str]:
    if isinstance(error, BadRequest):
        return error.code, str(error)
    return "bad-request", f"This is no HTTP/1.1: {error}"
