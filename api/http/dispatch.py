"""Dispatches requests of our own server: directly to a view, or through Flask if anything depends on it.

Flask's request context takes about a third of the time of a short request (docs/performance.md). It is skipped if the route is
one of ours and no hook, error handler, signal receiver or middleware is registered.
"""

import asyncio

from api.application import Application
from api.http import problems
from api.http.context import ApiContext, set_context
from api.http.flask_dispatch import through_flask, through_wsgi
from api.http.pipeline import Pipeline
from api.http.problems import HTTPProblem
from api.server.request import Request
from api.server.response import Response, Stream
from api.service import Service

HEALTH_CHECKS = ("/health/live", "/health/ready")  # answered also beyond the limit of connections


class Server:
    """Must be created and used on the same event loop."""

    def __init__(self, app: Application, service: Service) -> None:
        self._app = app
        self._pipeline = Pipeline(app, service)
        app.run_on(asyncio.get_running_loop(), self._pipeline)

    async def start(self) -> None:
        await self._pipeline.start()

    async def stop(self) -> None:
        await self._pipeline.stop()

    def refuse(self, code: str, detail: str) -> Response:
        return problems.response_without_request(code, detail)

    async def respond(self, request: Request) -> Response | Stream:
        context = ApiContext(
            self._pipeline.service,
            request.method,
            request.path,
            request.query,
            request.headers,
            request.disconnected,
            request.address,
            extra_headers=self._pipeline.service.cors.headers(request.method, request.headers),
        )
        set_context(context)
        try:
            response = await self._respond(context, request)
        except Exception as error:  # noqa: BLE001 - every error becomes a problem, and an unexpected one is logged
            response = problems.response_for(error)
        finally:
            context.release_write_slot()
        if context.extra_headers:
            response.headers.extend(context.extra_headers)
        return response

    async def _respond(self, context: ApiContext, request: Request) -> Response | Stream:
        if request.over and context.path not in HEALTH_CHECKS:
            raise HTTPProblem("too-many-connections", "Too many clients are connected; try again later.")
        if self._app.has_middleware:
            response = await through_wsgi(self._app, self._pipeline, request)
            context.extra_headers = []  # they are in the response, which has a context of its own
            return response
        if self._app.has_hooks or not self._pipeline.is_ours(context.method, context.path):
            return await through_flask(self._app, self._pipeline, context, request)
        return await self._pipeline.respond(context, request.body)
