"""``python -m benchmarks.hooks``: what an operator's additions to the application cost, beside the application as it comes."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import flask
from flask import Flask

from benchmarks import systems
from benchmarks.models import ROWS, make_all
from benchmarks.turns import CONNECTIONS, Side, measure_pair, summary
from mldeploy.client import Client

PLAIN = "as it comes"
ADDITIONS = {"hooks": "benchmarks.hooks:hooked", "middleware": "benchmarks.hooks:wrapped"}


def hooked(app: Flask) -> Flask:
    """Add two hooks before a request, one after it and one teardown."""

    @app.before_request
    def note_path() -> None:
        flask.g.path = flask.request.path

    @app.before_request
    def check_path() -> None:
        assert flask.g.path == flask.request.path

    @app.after_request
    def add_header(response: flask.Response) -> flask.Response:
        response.headers["X-Path"] = flask.g.path
        return response

    @app.teardown_request
    def tear_down(error: BaseException | None) -> None:
        assert error is None

    return app


def wrapped(app: Flask) -> Flask:
    """Wrap the application in middleware that changes nothing."""
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return app


@click.command()
@click.option("--turns", default=3, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="of each measurement")
@click.option("--only", type=click.Choice(list(ADDITIONS)), help="one addition")
def main(turns: int, seconds: float, only: str | None) -> None:
    """Measure, and print the ratio of each load with its turns."""
    for addition in [only] if only else ADDITIONS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name in (PLAIN, addition):
                (folder / name).mkdir()
            plain = stack.enter_context(systems.mldeploy(folder / PLAIN))
            other = stack.enter_context(systems.mldeploy(folder / addition, app=ADDITIONS[addition]))
            labels = make_all(plain, folder / PLAIN)["iris"].labels
            Client(other.url).train(model="iris").wait(60)
            sides = [Side(PLAIN, plain, ""), Side(addition, other, "")]
            for number in CONNECTIONS:
                load = {"dialect": "mldeploy-waited", "connections": number, "seconds": seconds, "rows": ROWS, "labels": labels}
                pairs = [measure_pair(addition, sides if turn % 2 == 0 else sides[::-1], load) for turn in range(turns)]
                print(summary(f"{addition}, Prefer: wait", number, pairs, addition, PLAIN), flush=True)


if __name__ == "__main__":
    main()
