"""GET /health/live: this process answers. GET /health/ready: it can accept jobs; and who is there to do them."""

from flask import Blueprint
from msgspec import Struct

from api import answers
from api.exchange import aside, service
from api.http.response import Answer
from api.operation import operation
from jobs.job import WORKERS, Kind

blueprint = Blueprint("health", __name__, url_prefix="/health")


class Live(Struct, frozen=True):
    status: str


class Ready(Struct, frozen=True):
    """``workers`` counts live worker processes by kind; ``reconciled_seconds_ago`` is null if no reconciler ever ran.
    ``unloadable``: versions that a worker could not load within the last minute, and why; their jobs wait for one that can."""

    status: str
    workers: dict[str, int]
    reconciled_seconds_ago: float | None
    unloadable: dict[str, str] = {}


@blueprint.get("/live")
@operation("open", "This process answers", answers={200: Live})
async def live() -> Answer:
    return answers.json(Live("live"))


@blueprint.get("/ready")
@operation("open", "It can accept jobs, and who is there to do them", answers={200: Ready}, problems=("unavailable",))
async def ready() -> Answer:
    """503 when Redis does not answer. Workers that are away are no reason to refuse jobs: they wait."""
    return await aside(_ready)


def _ready() -> Answer:
    ledger = service().ledger
    workers = {kind.value: len(ledger.live_owners(kind)) for kind in WORKERS}
    since = ledger.since_reconciled()
    return answers.json(Ready("ready", workers, None if since is None else round(since, 3), ledger.unloadable(Kind.PREDICT)))
