"""What an operator may add to the application, as MLDEPLOY_APP names it."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
from flask import Flask
from flask_cors import CORS
from werkzeug.exceptions import InternalServerError, TooManyRequests

FRIEND = "https://friend.example"


def hooked(app: Flask) -> Flask:
    """Add hooks of each kind that change nothing."""

    @app.before_request
    def look() -> None:
        flask.g.path = flask.request.path

    @app.before_request
    async def look_again() -> None:
        assert flask.g.path == flask.request.path

    @app.after_request
    def check(response: flask.Response) -> flask.Response:
        assert flask.g.path == flask.request.path
        return response

    @app.teardown_request
    def tear_down(error: BaseException | None) -> None:
        assert flask.g.path == flask.request.path

    return app


def wrapped(app: Flask) -> Flask:
    """Add middleware that adds a header to every response."""
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("X-Wrapped", "yes")], *more)

        return inner(environ, start)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return app


def own(app: Flask) -> Flask:
    """Add CORS, authentication by a hook, error handlers and routes."""
    CORS(app, origins=[FRIEND], expose_headers=["Location"])
    pages = flask.Blueprint("pages", __name__)

    @app.before_request
    def let_the_boss_alone_see_datasets() -> None:
        if flask.request.blueprint == "datasets" and flask.request.headers.get("X-Remote-User") != "boss":
            flask.abort(403, "the boss alone")

    @app.before_request
    def refuse() -> tuple[dict[str, str], int] | None:
        if "X-Blocked" in flask.request.headers:
            return {"blocked": flask.request.get_data(as_text=True)}, 451
        return None

    @app.after_request
    async def mark(response: flask.Response) -> flask.Response:
        response.headers["X-Operator"] = flask.request.endpoint or ""
        return response

    @pages.get("/hello/<name>")
    def hello(name: str) -> str:
        return f"hello {name}"

    @pages.get("/hello-async")
    async def hello_async() -> dict[str, str]:
        return {"hello": flask.request.path}

    @pages.get("/broken")
    def broken() -> str:
        raise LookupError("broken")

    @pages.get("/odd")
    def odd() -> str:
        raise FloatingPointError("odd")

    @app.get("/models")
    def shadow() -> str:
        return "not ours"

    @pages.post("/upload")
    def upload() -> dict[str, int]:
        return {"got": len(flask.request.get_data())}

    @pages.get("/slow-stream")
    def slow_stream() -> flask.Response:
        def parts() -> Iterator[str]:
            for number in range(3):
                time.sleep(0.5)
                yield f"data: {number}\n\n"

        return flask.Response(parts(), mimetype="text/event-stream")

    @pages.get("/cookies")
    def cookies() -> dict[str, str]:
        return dict(flask.request.cookies)

    @pages.get("/teapot")
    def teapot() -> tuple[str, int]:
        return "short and stout", 799

    @pages.get("/mine")
    def mine() -> str:
        flask.abort(flask.make_response("mine", 409))

    @pages.get("/later")
    def later() -> str:
        raise TooManyRequests("later", retry_after=77)

    @app.errorhandler(500)
    def unforeseen(error: InternalServerError) -> tuple[str, int]:
        return f"unforeseen: {error.original_exception}", 500

    @app.errorhandler(LookupError)
    def sorry(error: LookupError) -> tuple[str, int]:
        return f"sorry: {error}", 418

    app.register_blueprint(pages)
    return app


def a_route(app: Flask) -> Flask:
    """Add one route and nothing else."""

    @app.get("/hello")
    def hello() -> str:
        return f"hello {flask.request.args['name']}"

    return app


def wrapped_route(app: Flask) -> Flask:
    """Add a route, and middleware."""
    return wrapped(a_route(app))


def nested(app: Flask) -> Flask:
    """Add a hook that makes a request within another."""

    @app.before_request
    def request_within() -> None:
        if flask.request.path == "/models":
            assert app.test_client().get("/health/live").status_code == 200

    return app


def forgetful(app: Flask) -> None:
    """Return nothing."""
