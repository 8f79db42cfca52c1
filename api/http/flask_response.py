"""Our answers as Flask's responses, and back."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextvars import Context, copy_context
from typing import Any

from flask import Response as FlaskResponse

from api.http.loop_thread import check_is_elsewhere
from api.server.response import Response, Stream

COUNTED = "content-length"  # which who writes the answer adds


class StreamResponse(FlaskResponse):
    """``sent`` is what it is made of; under a WSGI server it is iterated over in the thread that serves it."""

    sent: Stream


def response_of(answer: Response | Stream, loop: asyncio.AbstractEventLoop) -> FlaskResponse:
    if isinstance(answer, Stream):
        streaming = StreamResponse(_chunks(answer.chunks, loop, copy_context()), answer.status, answer.headers)
        streaming.sent = answer
        return streaming
    response = FlaskResponse(answer.body, answer.status, answer.headers)
    if not any(name.lower() == "content-type" for name, _ in answer.headers):
        del response.headers["Content-Type"]  # Flask's default
    return response


def headers_of(response: FlaskResponse, environ: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.get_wsgi_headers(environ) if name.lower() != COUNTED]


def answer_of(response: FlaskResponse, environ: dict[str, Any]) -> Response:
    """Of one whose body is there."""
    return Response(response.get_data(), response.status_code, headers_of(response, environ))


def _chunks(chunks: AsyncGenerator[bytes, None], loop: asyncio.AbstractEventLoop, context: Context) -> Iterator[bytes]:
    """Of a stream whose generator runs on the loop, in the context of the request. Not to be read on the loop's own thread."""
    check_is_elsewhere(loop)

    def wait_for(coroutine: Any) -> Any:
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, loop).result()

    async def next_chunk() -> bytes | None:
        return await anext(chunks, None)

    try:
        while (chunk := wait_for(next_chunk())) is not None:
            yield chunk
    finally:
        wait_for(chunks.aclose())
