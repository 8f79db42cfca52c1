"""Which version serves: PUT and DELETE /models/<name>/aliases/<alias>, POST /models/<name>/rollback. Every move is logged."""

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
OF_MOVES = ("unknown-model", "unknown-version", "moved-meanwhile", "too-many-moves")
TRIES = 3  # each as long as the workers may take to load the version

Told = Annotated[str, Meta(max_length=300, description="text of at most 300 characters")]


Whole = Annotated[  # 3.0 is an integer in JSON Schema, and not for msgspec
    float,
    Meta(ge=1, le=999_999_999, multiple_of=1, description="the number of a version", extra_json_schema={"type": "integer"}),
]


class MoveRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """``who`` and ``why`` are logged with the move."""

    version: Whole
    who: Told = "over HTTP"
    why: Told = ""


class RollbackRequest(Struct, frozen=True, forbid_unknown_fields=True):
    who: Told = "over HTTP"
    why: Told = ""


class AliasesResource(Struct, frozen=True):
    name: str
    aliases: dict[str, int]
    moves: list[Move]


@blueprint.put("/aliases/<alias>")
@operation(
    "admin",
    "Move an alias: champion serves",
    takes=(MoveRequest,),
    answers={200: AliasesResource},
    problems=("invalid-input", "cannot-serve", "too-many-aliases", *OF_MOVES),
)
async def put_alias(name: ModelName, alias: Alias) -> Response:
    """champion serves: the workers load the version before it does."""
    if not ALIAS.fullmatch(alias):
        raise InvalidInput([InputError("", "an alias is a lower-case letter and at most 63 more letters, digits, - and _")])
    asked = decode(json_body(), MoveRequest)
    return await _swapping(_move, name, alias, asked)


@blueprint.delete("/aliases/<alias>")
@operation(
    "admin",
    "Take an alias away",
    answers={200: AliasesResource},
    problems=("unknown-model", "unknown-version", "champion-stays", "moved-meanwhile"),
)
async def delete_alias(name: ModelName, alias: Alias) -> Response:
    if alias == CHAMPION:
        raise HTTPProblem("champion-stays", "champion serves: move it to another version, or roll back.")
    return await run_in_thread(_take_away, name, alias)


@blueprint.post("/rollback")
@operation(
    "admin",
    "Back to the version that served before",
    takes=(RollbackRequest,),
    bodiless=True,
    answers={200: AliasesResource},
    problems=("invalid-input", "nothing-before", "cannot-serve", *OF_MOVES),
)
async def roll_back(name: ModelName) -> Response:
    """Back to the version that was champion before; again, and it goes one further back."""
    body = json_body()
    return await _swapping(_roll_back, name, decode(body, RollbackRequest) if body.strip() else RollbackRequest())


async def _swapping(function: Callable[..., Response], *args: Any) -> Response:
    """It may take seconds: this request's turn to write is another's."""
    api_context().end_turn()
    return await service().alias_moves.run(function, *args)


def _move(name: str, alias: str, asked: MoveRequest) -> Response:
    registry = service().registry
    version = int(asked.version)
    card = registry.known(name).cards.get(version)
    if card is None:
        raise UnknownVersion(f"{name} has no version {version}")
    if alias == CHAMPION:
        _await_loaded(card)
    registry.move(name, alias, version, asked.who, asked.why)
    return _told(name)


def _take_away(name: str, alias: str) -> Response:
    service().registry.take_away(name, alias, "over HTTP", "")
    return _told(name)


def _roll_back(name: str, asked: RollbackRequest) -> Response:
    registry = service().registry
    for _ in range(TRIES):
        model = registry.known(name)
        target = alias_history.before(model.moves, list(model.cards))
        _await_loaded(model.cards[target])
        if registry.roll_back(name, target, asked.who, asked.why):
            return _told(name)
    raise MovedMeanwhile(f"the aliases of {name} keep moving")


def _await_loaded(card: Card) -> None:
    """Raises CannotServe."""
    here = service()
    here.rollout.await_loaded(card, LiveWorkers(Kind.PREDICT, here.ledger, here.wakeup_sender), here.settings.swap_patience)


def _told(name: str) -> Response:
    model = service().registry.known(name)
    return responses.json(AliasesResource(name, model.aliases, model.moves))
