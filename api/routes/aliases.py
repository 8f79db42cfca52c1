"""PUT and DELETE /models/<name>/aliases/<alias>, POST /models/<name>/rollback: choose the version that serves."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from flask import Blueprint
from msgspec import Meta, Struct

from api.http import responses
from api.http.body import decode, json_body
from api.http.context import api_context, run_in_thread, service
from api.http.operation import operation
from api.http.problems import HTTPProblem
from api.server.response import Response
from jobs.job import Kind
from jobs.live_workers import LiveWorkers
from models import alias_history
from models.alias_history import Move
from models.card import CHAMPION, Card
from models.input_errors import InputError, InvalidInput
from models.options import ModelName
from models.registry import MovedMeanwhile, UnknownVersion

blueprint = Blueprint("aliases", __name__, url_prefix="/models/<name>")

ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
Alias = Annotated[str, Meta(pattern=f"^{ALIAS.pattern}$", description="champion, or a word of your own")]
MOVE_PROBLEMS = ("unknown-model", "unknown-version", "moved-meanwhile", "too-many-moves")
MAX_TRIES = 3  # each waits until workers have loaded the version

ShortText = Annotated[str, Meta(max_length=300, description="text of at most 300 characters")]
VersionNumber = Annotated[  # 3.0 is an integer in JSON Schema, and not for msgspec
    float,
    Meta(ge=1, le=999_999_999, multiple_of=1, description="the number of a version", extra_json_schema={"type": "integer"}),
]


class MoveRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """``who`` and ``why`` are logged with the move."""

    version: VersionNumber
    who: ShortText = "over HTTP"
    why: ShortText = ""


class RollbackRequest(Struct, frozen=True, forbid_unknown_fields=True):
    who: ShortText = "over HTTP"
    why: ShortText = ""


class AliasesResource(Struct, frozen=True):
    name: str
    aliases: dict[str, int]
    moves: list[Move]


@blueprint.put("/aliases/<alias>")
@operation(
    "admin",
    "Move an alias: champion serves",
    takes=(MoveRequest,),
    responses={200: AliasesResource},
    problems=("invalid-input", "cannot-serve", "too-many-aliases", *MOVE_PROBLEMS),
)
async def put_alias(name: ModelName, alias: Alias) -> Response:
    """champion serves: the workers load the version before it does."""
    if not ALIAS.fullmatch(alias):
        raise InvalidInput([InputError("", "an alias is a lower-case letter and at most 63 more letters, digits, - and _")])
    move_request = decode(json_body(), MoveRequest)
    return await _run_move(_move, name, alias, move_request)


@blueprint.delete("/aliases/<alias>")
@operation(
    "admin",
    "Take an alias away",
    responses={200: AliasesResource},
    problems=("unknown-model", "unknown-version", "champion-stays", "moved-meanwhile"),
)
async def delete_alias(name: ModelName, alias: Alias) -> Response:
    if alias == CHAMPION:
        raise HTTPProblem("champion-stays", "champion serves: move it to another version, or roll back.")
    return await run_in_thread(_delete, name, alias)


@blueprint.post("/rollback")
@operation(
    "admin",
    "Back to the version that served before",
    takes=(RollbackRequest,),
    body_optional=True,
    responses={200: AliasesResource},
    problems=("invalid-input", "nothing-before", "cannot-serve", *MOVE_PROBLEMS),
)
async def roll_back(name: ModelName) -> Response:
    """Back to the version that was champion before; again, and it goes one further back."""
    body = json_body()
    return await _run_move(_roll_back, name, decode(body, RollbackRequest) if body.strip() else RollbackRequest())


async def _run_move(function: Callable[..., Response], *args: Any) -> Response:
    """Releases the write slot of the request, and runs a move, which may take seconds."""
    api_context().release_write_slot()
    return await service().alias_moves.run(function, *args)


def _move(name: str, alias: str, move_request: MoveRequest) -> Response:
    registry = service().registry
    version = int(move_request.version)
    card = registry.get(name).cards.get(version)
    if card is None:
        raise UnknownVersion(f"{name} has no version {version}")
    if alias == CHAMPION:
        _await_loaded(card)
    registry.move(name, alias, version, move_request.who, move_request.why)
    return _aliases_response(name)


def _delete(name: str, alias: str) -> Response:
    service().registry.remove_alias(name, alias, "over HTTP", "")
    return _aliases_response(name)


def _roll_back(name: str, move_request: RollbackRequest) -> Response:
    registry = service().registry
    for _ in range(MAX_TRIES):
        model = registry.get(name)
        target = alias_history.rollback_target(model.history, list(model.cards))
        _await_loaded(model.cards[target])
        if registry.roll_back(name, target, move_request.who, move_request.why):
            return _aliases_response(name)
    raise MovedMeanwhile(f"the aliases of {name} keep moving")


def _await_loaded(card: Card) -> None:
    """Raises CannotServe."""
    app_service = service()
    app_service.rollout.await_loaded(
        card, LiveWorkers(Kind.PREDICT, app_service.ledger, app_service.wakeup_sender), app_service.settings.swap_patience
    )


def _aliases_response(name: str) -> Response:
    model = service().registry.get(name)
    return responses.json(AliasesResource(name, model.aliases, model.history))
