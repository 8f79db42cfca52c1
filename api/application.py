"""The Flask application: any WSGI server runs it, with the hooks, error handlers, extensions and routes that it was given.

Under a WSGI server the views run on an event loop in a thread of its own, made with the first request of each process. Our own
server (api/http/dispatch.py) lends its loop instead.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import Any

import flask
from flask import Flask, signals
from flask import Response as FlaskResponse
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.routing import RoutingException

from api.http import problems
from api.http.context import api_context, begin, end
from api.http.flask_response import response_of
from api.http.loop_thread import LoopThread, WaitingThread
from api.http.operation import is_described
from api.http.pipeline import Pipeline
from api.http.wsgi_request import WsgiBody, context_of
from api.server.response import Response, Stream
from api.service import make_service
from settings import Settings

CALLERS = 256  # requests at once

SIGNALS = (
    *(signals.request_started, signals.request_finished, signals.request_tearing_down, signals.got_request_exception),
    *(signals.appcontext_pushed, signals.appcontext_popped, signals.appcontext_tearing_down),
)


class Application(Flask):
    """``settings`` are of the whole service."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("api", static_folder=None)
        self.settings = settings
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        self.callers = ThreadPoolExecutor(CALLERS, "wsgi")  # for middleware, under our own server
        self._lock = Lock()
        self._process = 0  # whose loop it is
        self._thread: LoopThread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._pipeline: Pipeline

    def run_on(self, loop: asyncio.AbstractEventLoop, pipeline: Pipeline) -> None:
        """The views of this process run there."""
        self._loop, self._pipeline = loop, pipeline
        self._got_first_request = True  # what is registered from now on would come too late
        hooks = (
            *(self.before_request_funcs, self.after_request_funcs, self.teardown_request_funcs, self.url_value_preprocessors),
            *(self.teardown_appcontext_funcs, self.error_handler_spec),
        )
        self._was_given_hooks = any(hooks) or bool(self.config["TRUSTED_HOSTS"])
        self._process = os.getpid()  # last: other threads go by it

    def close(self) -> None:
        """End the event loop that requests have started in this process, and its connections to Redis."""
        if self._thread and self._process == os.getpid():
            WaitingThread(self._loop).wait_for(self._pipeline.stop())
            self._thread.close()
        self._thread, self._process = None, 0

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for the end of a job."""
        return self._pipeline.service.waiters.count if self._process == os.getpid() else 0

    # What hangs on it

    @property
    def has_middleware(self) -> bool:
        """Something was put around the application: only calling it shows what that does."""
        return "wsgi_app" in self.__dict__ or Flask.__call__.__module__ != "flask.app"

    @property
    def has_hooks(self) -> bool:
        return self._was_given_hooks or any(signal.receivers for signal in SIGNALS)

    # Flask's way of a request

    def full_dispatch_request(self) -> FlaskResponse:
        """Under a WSGI server."""
        self._run_in_this_process()
        here = context_of(flask.request, self._pipeline.service, self._loop)
        token = begin(here)
        try:
            return super().full_dispatch_request()
        except Exception as error:  # noqa: BLE001 - of a hook after the view; while the exchange is known
            return self.handle_exception(error)
        finally:
            self._loop.call_soon_threadsafe(here.end_turn)
            end(token)  # a hook may have made a request of its own within this one

    def dispatch_request(self) -> ResponseReturnValue:
        self._check_routing()
        if not self.is_ours:
            return super().dispatch_request()
        thread = WaitingThread(self._loop)
        return self._respond(thread.wait_for(self._pipeline.answer(api_context(), WsgiBody(flask.request, thread))))

    def _check_routing(self) -> None:
        """Raises what Flask's routing found, but for what only those who may come in are told: no route, or another method."""
        found = flask.request.routing_exception
        if found is not None and not isinstance(found, NotFound | MethodNotAllowed):
            raise found

    @property
    def is_ours(self) -> bool:
        """The route of this request; also what is no route, to which only those who may come in are told what there is."""
        rule = flask.request.url_rule
        return rule is None or is_described(self.view_functions[rule.endpoint])

    def handle_user_exception(self, error: Exception) -> ResponseReturnValue:
        """The operator's handler for it if there is one, a response that an HTTPException brings, and else a problem."""
        if self._find_error_handler(error, flask.request.blueprints) is not None:
            return super().handle_user_exception(error)
        if isinstance(error, HTTPException) and (error.code is None or error.response or isinstance(error, RoutingException)):
            return error
        if problems.is_unforeseen(error):
            signals.got_request_exception.send(self, _async_wrapper=self.ensure_sync, exception=error)
            server_error = InternalServerError(original_exception=error)
            handler = self._find_error_handler(server_error, flask.request.blueprints)
            if handler is not None:
                problems.log_unforeseen(error)
                answer: ResponseReturnValue = self.ensure_sync(handler)(server_error)
                return answer
        return self._respond(problems.answer(error))

    def handle_exception(self, error: Exception) -> FlaskResponse:
        """What went wrong in a hook after the view. A test of the operator's sees it raised."""
        if self.testing or self.config["PROPAGATE_EXCEPTIONS"]:
            return super().handle_exception(error)
        return self.finalize_request(self.handle_user_exception(error), from_error_handler=True)

    def _respond(self, answer: Response | Stream) -> FlaskResponse:
        if api_context().notes:
            answer.headers.extend(api_context().notes)
        return response_of(answer, self._loop)

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """Views and hooks of the operator's that are coroutines run on our event loop too, unless it is that which calls."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._run_in_this_process()
            if asyncio._get_running_loop() is not self._loop:
                return WaitingThread(self._loop).wait_for(func(*args, **kwargs))
            with ThreadPoolExecutor(1) as run_in_thread:
                return run_in_thread.submit(copy_context().run, asyncio.run, func(*args, **kwargs)).result()

        return call

    def _run_in_this_process(self) -> None:
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process != os.getpid():
                self._thread = LoopThread()
                pipeline = asyncio.run_coroutine_threadsafe(self._start(), self._thread.loop).result()
                self.run_on(self._thread.loop, pipeline)

    async def _start(self) -> Pipeline:
        pipeline = Pipeline(self, make_service(self.settings))
        await pipeline.start()
        return pipeline

    # The same on our own server's event loop, where hooks that are coroutines are awaited

    async def dispatch_on_loop(self, answer: Callable[[], Awaitable[Response | Stream]]) -> FlaskResponse:
        """``answer`` asks one of our views. To be called in a request's context, after ``begin``."""
        try:
            signals.request_started.send(self, _async_wrapper=self.ensure_sync)
            found = await self._preprocess()
            if found is None:
                self._check_routing()
            if found is None and self.is_ours:
                found = self._respond(await answer())
            elif found is None:
                call = copy_context().run
                found = await self._loop.run_in_executor(self.callers, call, super().dispatch_request)
        except Exception as error:  # noqa: BLE001 - as Flask does: it becomes an answer
            found = self.handle_user_exception(error)
        response = await self._postprocess(self.make_response(found))
        signals.request_finished.send(self, _async_wrapper=self.ensure_sync, response=response)
        return response

    async def _preprocess(self) -> ResponseReturnValue | None:
        """As Flask.preprocess_request."""
        request = flask.request
        names = (None, *reversed(request.blueprints))
        for name in names:
            for preprocess in self.url_value_preprocessors.get(name, ()):
                preprocess(request.endpoint, request.view_args)
        for name in names:
            for hook in self.before_request_funcs.get(name, ()):
                found: ResponseReturnValue | None = await _awaited(hook())
                if found is not None:
                    return found
        return None

    async def _postprocess(self, response: FlaskResponse) -> FlaskResponse:
        """As Flask.process_response."""
        context = flask.globals.request_ctx._get_current_object()  # type: ignore[attr-defined]
        hooks = list(context._after_request_functions)
        for name in (*flask.request.blueprints, None):
            hooks += reversed(self.after_request_funcs.get(name, []))
        for hook in hooks:
            response = await _awaited(hook(response))
        if not self.session_interface.is_null_session(context.session):
            self.session_interface.save_session(self, context.session, response)
        return response


async def _awaited(found: Any) -> Any:
    return await found if asyncio.iscoroutine(found) else found
