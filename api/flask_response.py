"""Our answers as Flask's responses, and back."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextvars import copy_context
from typing import Any

from flask import Response

from api.http.response import Answer, Stream

COUNTED = "content-length"  # which who writes the answer adds


class StreamResponse(Response):
    """``sent`` is what it is made of; under a WSGI server it is iterated over in the thread that serves it."""

    sent: Stream


def response_of(answer: Answer | Stream, loop: asyncio.AbstractEventLoop) -> Response:
    if isinstance(answer, Stream):
        streaming = StreamResponse(_chunks(answer.chunks, loop), answer.status, answer.headers)
        streaming.sent = answer
        return streaming
    response = Response(answer.body, answer.status, answer.headers)
    if not any(name.lower() == "content-type" for name, _ in answer.headers):
        del response.headers["Content-Type"]  # Flask's default
    return response


def answer_of(response: Response, environ: dict[str, Any]) -> Answer | Stream:
    headers = [(name, value) for name, value in response.get_wsgi_headers(environ) if name.lower() != COUNTED]
    if isinstance(response, StreamResponse):
        return Stream(response.sent.chunks, headers, response.status_code)
    response.direct_passthrough = False  # of a file of the operator's: its bytes are wanted
    return Answer(response.get_data(), response.status_code, headers)


def _chunks(chunks: AsyncGenerator[bytes, None], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Of a stream whose generator runs on the loop, in the context of the request."""
    context = copy_context()

    def wait_for(coroutine: Any) -> Any:
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, loop).result()

    async def next_chunk() -> bytes | None:
        return await anext(chunks, None)

    try:
        while (chunk := wait_for(next_chunk())) is not None:
            yield chunk
    finally:
        wait_for(chunks.aclose())
