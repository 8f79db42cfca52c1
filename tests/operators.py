"""What an operator may hang on the application, as MLDEPLOY_APP names it."""

from collections.abc import Callable, Iterable
from typing import Any

import flask
from flask import Flask
from flask_cors import CORS

FRIEND = "https://friend.example"


def hooked(app: Flask) -> Flask:
    """Hooks of each kind that change nothing."""

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
    """Middleware that adds a header to every answer."""
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("X-Wrapped", "yes")], *more)

        return inner(environ, start)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return app


def own(app: Flask) -> Flask:
    """CORS, a door for whom the hook knows, error handlers and routes."""
    CORS(app, origins=[FRIEND], expose_headers=["Location"])
    pages = flask.Blueprint("pages", __name__)

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

    @app.errorhandler(LookupError)
    def sorry(error: LookupError) -> tuple[str, int]:
        return f"sorry: {error}", 418

    app.register_blueprint(pages)
    return app


def a_route(app: Flask) -> Flask:
    """One route and nothing else."""

    @app.get("/hello")
    def hello() -> str:
        return f"hello {flask.request.args['name']}"

    return app


def forgetful(app: Flask) -> None:
    """Returns nothing."""
