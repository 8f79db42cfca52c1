"""GET /models and /models/<name>: what there is, what it takes, how it was judged."""

from typing import Any

from flask import Blueprint
from msgspec import Struct

from api import answers
from api.exchange import Answer, aside, service
from models.card import CHAMPION, Card
from models.packaged import packaged_schema
from models.registry import Model, UnknownModel
from models.schema import Schema

blueprint = Blueprint("models", __name__)


class ModelSummary(Struct, frozen=True):
    name: str
    champion: int | None
    versions: list[int]
    url: str


class ModelList(Struct, frozen=True):
    models: list[ModelSummary]


class ModelAnswer(Struct, frozen=True):
    """``schema`` is a JSON Schema of one measurement, as the champion takes it."""

    name: str
    aliases: dict[str, int]
    schema: dict[str, Any] | None
    versions: list[Card]


@blueprint.get("/models")
async def list_models() -> Answer:
    return await aside(_list)


@blueprint.get("/models/<name>")
async def show_model(name: str) -> Answer:
    return await aside(_show, name)


def _list() -> Answer:
    names = sorted({*service().registry.names(), service().settings.default_model})
    found = zip(names, service().registry.summaries(names), strict=True)
    return answers.json(ModelList([ModelSummary(name, champion, all_, f"/models/{name}") for name, (champion, all_) in found]))


def _show(name: str) -> Answer:
    model, known = _model(name), packaged_schema(name) if name == service().settings.default_model else None
    if known is None and service().registry.model(name) is None:
        raise UnknownModel(f"there is no model {name[:64]}; there are: {', '.join(service().registry.names()) or 'none yet'}")
    schema = _champion_schema(model) or known
    return answers.json(ModelAnswer(name, model.aliases, schema.json_schema() if schema else None, list(model.cards.values())))


def _model(name: str) -> Model:
    return service().registry.model(name) or Model(name, {}, {})


def _champion_schema(model: Model) -> Schema | None:
    champion = model.cards.get(model.aliases.get(CHAMPION, 0))
    return champion.schema if champion else None
