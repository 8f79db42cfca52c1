"""Converts our responses to Flask's, and back."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextvars import Context, copy_context
from typing import Any

from flask import Response as FlaskResponse

from api.http.loop_thread import check_not_on_loop
from api.server.response import Response, Stream

LOCATIONS = ("location", "content-location")
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9/._-]*)?")  # which Werkzeug leaves as it is
BODILESS = {*range(100, 200), 204, 304}
CONTENT_LENGTH = "content-length"  # added when the response is written


class StreamResponse(FlaskResponse):
    """``source`` is the Stream that it wraps. A WSGI server iterates over it in the thread of the request."""

    source: Stream


def to_flask(ours: Response | Stream, loop: asyncio.AbstractEventLoop) -> FlaskResponse:
    if isinstance(ours, Stream):
        streaming = StreamResponse(_chunks(ours.chunks, loop, copy_context()), ours.status, ours.headers)
        streaming.source = ours
        return streaming
    response = FlaskResponse(ours.body, ours.status, ours.headers)
    if not any(name.lower() == "content-type" for name, _ in ours.headers):
        del response.headers["Content-Type"]  # Flask's default
    return response


def headers_of(response: FlaskResponse, environ: dict[str, Any]) -> list[tuple[str, str]]:
    """The headers as Werkzeug completes them for a WSGI server. It need not where nothing is to be completed."""
    named = [(name.lower(), name, value) for name, value in response.headers]
    is_usual = type(response) in (FlaskResponse, StreamResponse) and not response.autocorrect_location_header
    is_usual = is_usual and response.status_code not in BODILESS
    if not is_usual or not all(PLAIN_PATH.fullmatch(value) for lower, _, value in named if lower in LOCATIONS):
        named = [(name.lower(), name, value) for name, value in response.get_wsgi_headers(environ)]
    return [(name, value) for lower, name, value in named if lower != CONTENT_LENGTH]


def from_flask(response: FlaskResponse, environ: dict[str, Any]) -> Response:
    """Converts a response that is not streamed."""
    return Response(response.get_data(), response.status_code, headers_of(response, environ))


def _chunks(chunks: AsyncGenerator[bytes, None], loop: asyncio.AbstractEventLoop, context: Context) -> Iterator[bytes]:
    """Iterates over a generator that runs on the loop, in the context of the request. Must not be called on the loop's own
    thread."""
    check_not_on_loop(loop)

    def wait_for(coroutine: Any) -> Any:
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, loop).result()

    async def next_chunk() -> bytes | None:
        return await anext(chunks, None)

    try:
        while (chunk := wait_for(next_chunk())) is not None:
            yield chunk
    finally:
        wait_for(chunks.aclose())
