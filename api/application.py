"""The Flask application. Any WSGI server can run it, with hooks, error handlers, extensions and routes of the operator.

Under a WSGI server the views run on an event loop in a separate thread, which the first request of each process starts. Our own
server (api/http/dispatch.py) provides its loop instead.
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
from werkzeug.routing import MapAdapter, RoutingException

from api.http import problems
from api.http.context import api_context, reset_context, set_context
from api.http.flask_response import to_flask
from api.http.loop_thread import LoopThread, WaitingThread
from api.http.operation import is_described
from api.http.pipeline import Pipeline
from api.http.wsgi_request import WsgiBody, context_of
from api.server.response import Response, Stream
from api.service import make_service
from settings import Settings

MAX_CALLERS = 256  # requests at once

SIGNALS = (
    *(signals.request_started, signals.request_finished, signals.request_tearing_down, signals.got_request_exception),
    *(signals.appcontext_pushed, signals.appcontext_popped, signals.appcontext_tearing_down),
)


class Application(Flask):
    """``settings`` are the settings of mldeploy, beside Flask's ``config``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("api", static_folder=None)
        self.settings = settings
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        self.callers = ThreadPoolExecutor(MAX_CALLERS, "wsgi")  # for middleware, under our own server
        self._lock = Lock()
        self._process = 0  # the process id to which the loop belongs
        self._thread: LoopThread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._pipeline: Pipeline

    def run_on(self, loop: asyncio.AbstractEventLoop, pipeline: Pipeline) -> None:
        """Runs the views of this process on the loop."""
        self._loop, self._pipeline = loop, pipeline
        self._got_first_request = True  # Flask then refuses further registrations, which would have no effect
        hooks = (
            *(self.before_request_funcs, self.after_request_funcs, self.teardown_request_funcs, self.url_value_preprocessors),
            *(self.teardown_appcontext_funcs, self.error_handler_spec),
        )
        self._has_registered_hooks = any(hooks) or bool(self.config["TRUSTED_HOSTS"])
        self._process = os.getpid()  # last, since other threads check it

    def close(self) -> None:
        """Ends the event loop that requests have started in this process, and its connections to Redis."""
        if self._thread and self._process == os.getpid():
            WaitingThread(self._loop).wait_for(self._pipeline.stop())
            self._thread.close()
        self._thread, self._process = None, 0

    @property
    def waiting(self) -> int:
        """Requests of this process that wait for the end of a job."""
        return self._pipeline.service.waiters.count if self._process == os.getpid() else 0

    # Operator's additions

    @property
    def has_middleware(self) -> bool:
        """Whether the application is wrapped in middleware, so that requests must go through ``wsgi_app``."""
        return "wsgi_app" in self.__dict__ or Flask.__call__.__module__ != "flask.app"

    @property
    def has_hooks(self) -> bool:
        return self._has_registered_hooks or any(signal.receivers for signal in SIGNALS)

    # Flask's handling of a request

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Binds the map of routes to a request. Flask looks for subdomains and websockets, which takes a tenth of its time."""
        usual = self.config["SERVER_NAME"] is None and self.config["TRUSTED_HOSTS"] is None and not self.url_map.host_matching
        if request is None or not usual or self.subdomain_matching or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ = request.environ
        return self.url_map.bind(
            request.host,
            request.root_path,
            self.url_map.default_subdomain,
            environ["wsgi.url_scheme"],
            environ["REQUEST_METHOD"],
            request.path,
            request.query_string.decode(errors="replace"),
        )

    def full_dispatch_request(self) -> FlaskResponse:
        """Handles a request under a WSGI server."""
        self._run_in_this_process()
        context = context_of(flask.request, self._pipeline.service, self._loop)
        token = set_context(context)
        try:
            return super().full_dispatch_request()
        except Exception as error:  # noqa: BLE001 - from a hook after the view; handled while the context is set
            return self.handle_exception(error)
        finally:
            self._loop.call_soon_threadsafe(context.release_write_slot)
            reset_context(token)  # restores the outer context if a hook made a nested request

    def dispatch_request(self) -> ResponseReturnValue:
        self._check_routing()
        if not self.is_ours:
            return super().dispatch_request()
        thread = WaitingThread(self._loop)
        return self._respond(thread.wait_for(self._pipeline.respond(api_context(), WsgiBody(flask.request, thread))))

    def process_response(self, response: FlaskResponse) -> FlaskResponse:
        """Adds the headers that every response has to those of the operator's own routes and error handlers."""
        return _with_extra_headers(super().process_response(response))

    def _check_routing(self) -> None:
        """Raises the error of Flask's routing, except for 404 and 405: only authenticated callers learn which routes exist."""
        error = flask.request.routing_exception
        if error is not None and not isinstance(error, NotFound | MethodNotAllowed):
            raise error

    @property
    def is_ours(self) -> bool:
        """Whether the route is one of ours, or there is no route, which only authenticated callers learn."""
        rule = flask.request.url_rule
        return rule is None or is_described(self.view_functions[rule.endpoint])

    def handle_user_exception(self, error: Exception) -> ResponseReturnValue:
        """Uses the operator's error handler, or the response of an HTTPException, or else a problem."""
        if self._find_error_handler(error, flask.request.blueprints) is not None:
            return super().handle_user_exception(error)
        if isinstance(error, HTTPException) and (error.code is None or error.response or isinstance(error, RoutingException)):
            return error
        if problems.is_unexpected(error):
            signals.got_request_exception.send(self, _async_wrapper=self.ensure_sync, exception=error)
            server_error = InternalServerError(original_exception=error)
            handler = self._find_error_handler(server_error, flask.request.blueprints)
            if handler is not None:
                problems.log_unexpected(error)
                response: ResponseReturnValue = self.ensure_sync(handler)(server_error)
                return response
        return self._respond(problems.response_for(error))

    def handle_exception(self, error: Exception) -> FlaskResponse:
        """Handles an error of a hook after the view. It is raised in Flask's testing mode."""
        if self.testing or self.config["PROPAGATE_EXCEPTIONS"]:
            return super().handle_exception(error)
        return self.finalize_request(self.handle_user_exception(error), from_error_handler=True)

    def _respond(self, response: Response | Stream) -> FlaskResponse:
        if api_context().extra_headers:
            response.headers.extend(api_context().extra_headers)
        return to_flask(response, self._loop)

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """Runs async views and hooks of the operator on our event loop, or in another thread if the loop itself calls."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._run_in_this_process()
            if asyncio._get_running_loop() is not self._loop:
                return WaitingThread(self._loop).wait_for(func(*args, **kwargs))
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(copy_context().run, asyncio.run, func(*args, **kwargs)).result()

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

    # The same on the event loop of our own server, where async hooks are awaited

    async def dispatch_on_loop(self, respond: Callable[[], Awaitable[Response | Stream]]) -> FlaskResponse:
        """``respond`` calls one of our views. Must be called in Flask's request context, after ``set_context``."""
        try:
            signals.request_started.send(self, _async_wrapper=self.ensure_sync)
            result = await self._preprocess()
            if result is None:
                self._check_routing()
            if result is None and self.is_ours:
                result = self._respond(await respond())
            elif result is None:
                call = copy_context().run
                result = await self._loop.run_in_executor(self.callers, call, super().dispatch_request)
        except Exception as error:  # noqa: BLE001 - becomes a response, as in Flask
            result = self.handle_user_exception(error)
        response = _with_extra_headers(await self._postprocess(self.make_response(result)))
        signals.request_finished.send(self, _async_wrapper=self.ensure_sync, response=response)
        return response

    async def _preprocess(self) -> ResponseReturnValue | None:
        """Like Flask.preprocess_request."""
        request = flask.request
        names = (None, *reversed(request.blueprints))
        for name in names:
            for preprocess in self.url_value_preprocessors.get(name, ()):
                preprocess(request.endpoint, request.view_args)
        for name in names:
            for hook in self.before_request_funcs.get(name, ()):
                result: ResponseReturnValue | None = await _awaited(hook())
                if result is not None:
                    return result
        return None

    async def _postprocess(self, response: FlaskResponse) -> FlaskResponse:
        """Like Flask.process_response."""
        context = flask.globals.request_ctx._get_current_object()  # type: ignore[attr-defined]
        hooks = list(context._after_request_functions)
        for name in (*flask.request.blueprints, None):
            hooks += reversed(self.after_request_funcs.get(name, []))
        for hook in hooks:
            response = await _awaited(hook(response))
        if not self.session_interface.is_null_session(context.session):
            self.session_interface.save_session(self, context.session, response)
        return response


async def _awaited(result: Any) -> Any:
    return await result if asyncio.iscoroutine(result) else result


def _with_extra_headers(response: FlaskResponse) -> FlaskResponse:
    """Adds those that are missing: a response of a view or an error handler of the operator has none of them yet."""
    extra_headers = api_context().extra_headers
    if extra_headers:
        present = set(response.headers.items())
        response.headers.extend([pair for pair in extra_headers if pair not in present])
    return response
