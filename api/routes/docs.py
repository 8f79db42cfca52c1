"""GET /openapi.json, and GET /docs, which shows it: Swagger UI, from a package that is installed here."""

import time
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from flask import Blueprint, Flask
from msgspec import Meta

from api.http.context import run_in_thread, service
from api.http.operation import Media, operation
from api.http.problems import HTTPProblem
from api.openapi.document import Document
from api.server.response import Response
from jobs.errors import LedgerError
from models.packaged import packaged_schema
from models.schema import Schema

PACKAGE = "flask-swagger-ui"  # only for its folder of assets
MAX_MODELS = 100  # that the document tells of
MOMENT = 2.0  # seconds for which it is remembered

Asset = Annotated[
    Literal["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"], Meta(description="a file of the page")
]
ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
}
OURS = ("start.js",)
POLICY = (  # Swagger UI sets styles from its script
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CHECKED = ("X-Content-Type-Options", "nosniff")


class Told:
    """The document as JSON, for a moment."""

    def __init__(self, app: Flask) -> None:
        self._document = Document(app)
        self._text = b""
        self._until = float("-inf")

    def text(self) -> bytes:
        if time.monotonic() > self._until:
            settings = service().settings
            self._text = msgspec.json.encode(self._document.told(_schemas(), settings.max_rows))
            self._until = time.monotonic() + MOMENT
        return self._text


def make_blueprint(app: Flask) -> Blueprint:
    """To be registered on that app, after all that is to be told of."""
    blueprint, told = Blueprint("docs", __name__), Told(app)

    @blueprint.get("/openapi.json")
    @operation("public", "This document", answers={200: dict})
    async def openapi() -> Response:
        text = await run_in_thread(told.text)
        return Response(text, 200, [("Content-Type", "application/json"), ("Cache-Control", "no-cache")])

    blueprint.get("/docs")(docs)
    blueprint.get("/docs/<asset>")(docs_asset)
    return blueprint


@operation("public", "A page that shows this document, to read and to try", answers={200: Media("text/html", str)})
async def docs() -> Response:
    page = (resources.files("api") / "pages" / "docs.html").read_text().replace("{version}", metadata.version(PACKAGE))
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", POLICY), ("Cache-Control", "no-cache")]
    return Response(page.encode(), 200, [*headers, CHECKED])


@operation(
    "public",
    "A file of that page",
    answers={200: (Media("text/css"), Media("text/javascript"), Media("image/png"))},
)
async def docs_asset(asset: Asset) -> Response:
    if asset not in ASSETS:
        raise HTTPProblem("not-found", f"The files of this page are {', '.join(ASSETS)}.")
    headers = [("Content-Type", ASSETS[asset]), ("Cache-Control", "private, max-age=31536000, immutable"), CHECKED]
    return Response(await run_in_thread(_read, asset), 200, headers)


def _read(asset: str) -> bytes:
    if asset in OURS:
        return (resources.files("api") / "pages" / asset).read_bytes()
    package = find_spec(PACKAGE.replace("-", "_"))
    assert package is not None
    assert package.submodule_search_locations
    return (Path(package.submodule_search_locations[0]) / "dist" / asset).read_bytes()


def _schemas() -> dict[str, Schema]:
    """Of the models that can be asked; without Redis only the one that comes with mldeploy."""
    default = service().settings.default_model
    packaged = packaged_schema(default)
    found = {default: packaged} if packaged else {}
    try:
        return found | _champions()
    except LedgerError:
        return found


def _champions() -> dict[str, Schema]:
    registry = service().registry
    names = sorted(registry.names())[:MAX_MODELS]
    numbers = dict(zip(names, [champion for champion, _ in registry.summaries(names)], strict=True))
    cards = [registry.card(name, number) for name, number in numbers.items() if number]
    return {card.name: card.schema for card in cards if card}
