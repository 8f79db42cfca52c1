"""GET /health/live: the process runs. GET /health/ready: whether jobs are accepted and executed, and why not."""

from flask import Blueprint
from msgspec import Struct

from api.http import responses
from api.http.context import service
from api.http.operation import operation
from api.readiness import Readiness
from api.server.response import Response

RETRY_AFTER = ("Retry-After", "2")

blueprint = Blueprint("health", __name__, url_prefix="/health")


class Live(Struct, frozen=True):
    status: str


@blueprint.get("/live")
@operation("open", "This process answers", responses={200: Live})
async def live() -> Response:
    return responses.json(Live("live"))


@blueprint.get("/ready")
@operation("open", "Whether jobs are accepted and done, and if not, why", responses={200: Readiness, 503: Readiness})
async def ready() -> Response:
    """200 while it is `ready` or `degraded`, and 503 while it is `not-ready`: nothing is accepted, or no prediction is made. Each
    reason says what to do. It is looked up at most four times a second."""
    readiness = await service().readiness.now()
    return responses.json(readiness, 200) if readiness.status != "not-ready" else responses.json(readiness, 503, RETRY_AFTER)


async def is_ready() -> bool:
    """For the health checks of other protocols."""
    return (await service().readiness.now()).status != "not-ready"
