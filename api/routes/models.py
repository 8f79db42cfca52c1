"""GET /models, /models/<name>, its versions and its schema."""

from typing import Any

from flask import Blueprint
from msgspec import Struct
from msgspec.structs import replace

from api.http import responses
from api.http.context import run_in_thread, service
from api.http.operation import Media, operation
from api.server.response import Response
from models.alias_history import Move
from models.card import Card
from models.datasets import unscoped_name
from models.options import ModelName, VersionName
from models.packaged import packaged_schema
from models.registry import Model, UnknownVersion, no_model
from models.schema import Schema

blueprint = Blueprint("models", __name__)


class ModelSummary(Struct, frozen=True):
    name: str
    champion: int | None
    versions: list[int]
    url: str


class ModelList(Struct, frozen=True):
    models: list[ModelSummary]


class ModelResource(Struct, frozen=True):
    """``schema`` is a JSON Schema of one measurement, as the champion takes it. ``moves`` of its aliases, newest first; ``notes``
    on versions, by number: of data that were deleted since."""

    name: str
    aliases: dict[str, int]
    schema: dict[str, Any] | None
    versions: list[Card]
    moves: list[Move]
    notes: dict[int, list[str]]


class VersionResource(Struct, frozen=True):
    """``moves``: those to and from this version."""

    card: Card
    aliases: list[str]
    moves: list[Move]
    notes: list[str]


@blueprint.get("/models")
@operation("any", "The models", responses={200: ModelList})
async def list_models() -> Response:
    return await run_in_thread(_list)


@blueprint.get("/models/<name>")
@operation(
    "any",
    "A model: what it takes, its versions, how they were judged",
    responses={200: ModelResource},
    problems=("unknown-model",),
)
async def show_model(name: ModelName) -> Response:
    return await run_in_thread(_show, name)


@blueprint.get("/models/<name>/schema")
@operation(
    "any",
    "JSON Schema of one measurement",
    responses={200: Media("application/schema+json", dict)},
    problems=("unknown-model", "unknown-version"),
)
async def show_schema(name: ModelName) -> Response:
    return await run_in_thread(_show_schema, name)


@blueprint.get("/models/<name>/versions/<version>")
@operation("any", "A version's card", responses={200: VersionResource}, problems=("unknown-model", "unknown-version"))
async def show_version(name: ModelName, version: VersionName) -> Response:
    """By its number or an alias."""
    return await run_in_thread(_show_version, name, version)


def _list() -> Response:
    names = sorted({*service().registry.names(), service().settings.default_model})
    found = zip(names, service().registry.summaries(names), strict=True)
    return responses.json(ModelList([ModelSummary(name, champion, all_, f"/models/{name}") for name, (champion, all_) in found]))


def _show(name: str) -> Response:
    model = _model(name)
    schema = _champion_schema(model)
    cards = [_with_unscoped_dataset(card) for card in model.cards.values()]
    shown = schema.json_schema() if schema else None
    return responses.json(ModelResource(name, model.aliases, shown, cards, model.history, model.notes))


def _show_schema(name: str) -> Response:
    schema = _champion_schema(_model(name))
    if schema is None:
        raise UnknownVersion(f"no version of {name} serves yet")
    return responses.schema(schema.json_schema())


def _show_version(name: str, reference: str) -> Response:
    model = _model(name)
    number = int(reference) if reference.isdecimal() and len(reference) < 10 else model.aliases.get(reference, 0)
    card = model.cards.get(number)
    if card is None:
        known = ", ".join(map(str, [*model.aliases, *model.cards])) or "none"
        raise UnknownVersion(f"{name} has no version {reference[:64]}; it has {known}")
    aliases = [alias for alias, version in model.aliases.items() if version == number]
    moves = [move for move in model.history if number in (move.from_version, move.to_version)]
    return responses.json(VersionResource(_with_unscoped_dataset(card), aliases, moves, model.notes.get(number, [])))


def _with_unscoped_dataset(card: Card) -> Card:
    """The card with the caller's name of the data set instead of the stored one."""
    return replace(card, data=replace(card.data, dataset=unscoped_name(card.data.dataset)))


def _model(name: str) -> Model:
    """Raises UnknownModel. The packaged model exists even before its first training."""
    found = service().registry.model(name)
    if found is None and packaged_schema(name) is None:
        raise no_model(name, service().registry.names())
    return found or Model(name, {}, {})


def _champion_schema(model: Model) -> Schema | None:
    return model.champion.schema if model.champion else packaged_schema(model.name)
