"""GET /openapi.json, and GET /docs, which shows it with Swagger UI, from an installed package."""

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

PACKAGE = "flask-swagger-ui"  # only its static files are used
MAX_MODELS = 100  # in the document
CACHE_SECONDS = 2.0  # seconds for which the document is cached

Asset = Annotated[
    Literal["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"], Meta(description="a file of the page")
]
ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
}
OWN_ASSETS = ("start.js",)
POLICY = (  # Swagger UI sets inline styles from its script
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NO_SNIFF = ("X-Content-Type-Options", "nosniff")


class CachedDocument:
    """The OpenAPI document as JSON, cached for CACHE_SECONDS."""

    def __init__(self, app: Flask) -> None:
        self._document = Document(app)
        self._text = b""
        self._valid_until = float("-inf")

    def text(self) -> bytes:
        if time.monotonic() > self._valid_until:
            settings = service().settings
            self._text = msgspec.json.encode(self._document.build(_schemas(), settings.max_rows))
            self._valid_until = time.monotonic() + CACHE_SECONDS
        return self._text


def make_blueprint(app: Flask) -> Blueprint:
    """The blueprint that documents ``app``. It must be registered after all routes that the document describes."""
    blueprint, document = Blueprint("docs", __name__), CachedDocument(app)

    @blueprint.get("/openapi.json")
    @operation("public", "This document", responses={200: dict})
    async def openapi() -> Response:
        text = await run_in_thread(document.text)
        return Response(text, 200, [("Content-Type", "application/json"), ("Cache-Control", "no-cache")])

    blueprint.get("/docs")(docs)
    blueprint.get("/docs/<asset>")(docs_asset)
    return blueprint


@operation("public", "A page that shows this document, to read and to try", responses={200: Media("text/html", str)})
async def docs() -> Response:
    page = (resources.files("api") / "pages" / "docs.html").read_text().replace("{version}", metadata.version(PACKAGE))
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", POLICY), ("Cache-Control", "no-cache")]
    return Response(page.encode(), 200, [*headers, NO_SNIFF])


@operation(
    "public",
    "A file of that page",
    responses={200: (Media("text/css"), Media("text/javascript"), Media("image/png"))},
)
async def docs_asset(asset: Asset) -> Response:
    if asset not in ASSETS:
        raise HTTPProblem("not-found", f"The files of this page are {', '.join(ASSETS)}.")
    headers = [("Content-Type", ASSETS[asset]), ("Cache-Control", "private, max-age=31536000, immutable"), NO_SNIFF]
    return Response(await run_in_thread(_read, asset), 200, headers)


def _read(asset: str) -> bytes:
    if asset in OWN_ASSETS:
        return (resources.files("api") / "pages" / asset).read_bytes()
    package = find_spec(PACKAGE.replace("-", "_"))
    assert package is not None
    assert package.submodule_search_locations
    return (Path(package.submodule_search_locations[0]) / "dist" / asset).read_bytes()


def _schemas() -> dict[str, Schema]:
    """The schemas of the models that serve; without Redis only that of the packaged model."""
    default = service().settings.default_model
    packaged = packaged_schema(default)
    schemas = {default: packaged} if packaged else {}
    try:
        return schemas | _champions()
    except LedgerError:
        return schemas


def _champions() -> dict[str, Schema]:
    registry = service().registry
    names = sorted(registry.names())[:MAX_MODELS]
    numbers = dict(zip(names, [champion for champion, _ in registry.summaries(names)], strict=True))
    cards = [registry.card(name, number) for name, number in numbers.items() if number]
    return {card.name: card.schema for card in cards if card}
