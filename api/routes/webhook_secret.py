"""GET and POST /webhook-secret: the secret that signs the caller's webhooks (Standard Webhooks 1.0)."""

from flask import Blueprint
from msgspec import Struct

from api.http import responses
from api.http.context import api_context, run_in_thread, service
from api.http.operation import operation
from api.server.response import Response

blueprint = Blueprint("webhook_secret", __name__)


class WebhookSecretResource(Struct, frozen=True):
    """``whsec_`` and base64: what a receiver verifies with."""

    secret: str


@blueprint.get("/webhook-secret")
@operation("any", "With what this key's webhooks are signed", responses={200: WebhookSecretResource})
async def show_secret() -> Response:
    return responses.json(WebhookSecretResource(await run_in_thread(service().secrets.current, api_context().caller)))


@blueprint.post("/webhook-secret")
@operation("any", "A new secret; the one before signs too for a day", responses={200: WebhookSecretResource})
async def rotate_secret() -> Response:
    return responses.json(WebhookSecretResource(await run_in_thread(service().secrets.rotate, api_context().caller)))
