"""GET and POST /webhook-secret: with what the caller's webhooks are signed, by Standard Webhooks 1.0."""

from flask import Blueprint
from msgspec import Struct

from api.http import responses
from api.http.context import aside, exchange, service
from api.http.operation import operation
from api.server.response import Answer

blueprint = Blueprint("webhook_secret", __name__)


class SecretAnswer(Struct, frozen=True):
    """``whsec_`` and base64: what a receiver verifies with."""

    secret: str


@blueprint.get("/webhook-secret")
@operation("any", "With what this key's webhooks are signed", answers={200: SecretAnswer})
async def show_secret() -> Answer:
    return responses.json(SecretAnswer(await aside(service().secrets.current, exchange().caller)))


@blueprint.post("/webhook-secret")
@operation("any", "A new secret; the one before signs too for a day", answers={200: SecretAnswer})
async def rotate_secret() -> Answer:
    return responses.json(SecretAnswer(await aside(service().secrets.rotate, exchange().caller)))
