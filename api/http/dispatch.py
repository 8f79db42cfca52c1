"""Between a connection and the application: the short way to a view, or Flask's own way as soon as anything hangs on it.

Flask's context of a request takes about a third of the time of a short one (docs/performance.md). It is not made while nobody
has registered a hook, an error handler, a signal receiver or middleware, and the route is one of ours.
"""

import asyncio

from api.application import Application
from api.http import problems
from api.http.context import ApiContext, begin
from api.http.flask_dispatch import through_flask, through_wsgi
from api.http.pipeline import Pipeline
from api.http.problems import HTTPProblem
from api.server.request import Request
from api.server.response import Response, Stream
from api.service import Service

ALWAYS = ("/health/live", "/health/ready")  # answered however many are connected


class Server:
    """To be made and used on one event loop."""

    def __init__(self, app: Application, service: Service) -> None:
        self._app = app
        self._pipeline = Pipeline(app, service)
        app.run_on(asyncio.get_running_loop(), self._pipeline)

    async def start(self) -> None:
        await self._pipeline.start()

    async def stop(self) -> None:
        await self._pipeline.stop()

    def refuse(self, code: str, detail: str) -> Response:
        return problems.no_request(code, detail)

    async def answer(self, request: Request) -> Response | Stream:
        context = ApiContext(
            self._pipeline.service, request.method, request.path, request.query, request.headers, request.gone, request.address
        )
        begin(context)
        try:
            answer = await self._answer_well(context, request)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem, and is logged if it is ours
            answer = problems.answer(error)
        finally:
            context.end_turn()
        if context.notes:
            answer.headers.extend(context.notes)
        return answer

    async def _answer_well(self, context: ApiContext, request: Request) -> Response | Stream:
        if request.over and context.path not in ALWAYS:
            raise HTTPProblem("too-many-connections", "Too many clients are connected; try again later.")
        if self._app.has_middleware:
            return await through_wsgi(self._app, self._pipeline, request)
        if self._app.has_hooks or not self._pipeline.is_ours(context.method, context.path):
            return await through_flask(self._app, self._pipeline, context, request)
        return await self._pipeline.answer(context, request.body)
