"""The Open Inference Protocol V2 of KServe, MLServer and Triton: the server, its health, and the metadata of models."""

from typing import Literal

import msgspec
from flask import Blueprint
from msgspec import Struct

from api.http import responses
from api.http.context import run_in_thread, service
from api.http.operation import operation
from api.protocols.tensors import Datatype, datatype_of, datatype_of_feature
from api.routes import health
from api.routes.predict import PredictQuery, unknown_error
from api.server.response import Response
from api.version import version as own_version
from models.card import CHAMPION
from models.options import ModelName, VersionName
from models.packaged import packaged_schema
from models.registry import UnknownModel
from models.schema import Schema

blueprint = Blueprint("v2", __name__, url_prefix="/v2")

PLATFORM = "sklearn"
UNKNOWN_PROBLEMS = ("unknown-model", "unknown-version")


class V2Server(Struct, frozen=True):
    name: str
    version: str
    extensions: list[str]


class V2Live(Struct, frozen=True):
    live: Literal[True] = True


class V2Ready(Struct, frozen=True):
    ready: bool = True


class V2ModelReady(Struct, frozen=True):
    name: str
    ready: Literal[True] = True


class V2TensorMetadata(Struct, frozen=True):
    """-1 in a shape is the number of rows."""

    name: str
    datatype: Datatype
    shape: list[int]


class V2Model(Struct, frozen=True):
    """``inputs``: a tensor for each feature, in their order. Features that are all numbers or booleans may come as one tensor of
    [rows, features] as well."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[V2TensorMetadata]
    outputs: list[V2TensorMetadata]


@blueprint.get("")
@operation("any", "The server", responses={200: V2Server})
async def v2_server() -> Response:
    return responses.json(V2Server("mldeploy", own_version(), []))


@blueprint.get("/health/live")
@operation("open", "This process answers", responses={200: V2Live})
async def v2_live() -> Response:
    return responses.json(V2Live())


@blueprint.get("/health/ready")
@operation("open", "Jobs are accepted and done", responses={200: V2Ready, 503: V2Ready})
async def v2_ready() -> Response:
    """`GET /health/ready` says why not."""
    if await health.is_ready():
        return responses.json(V2Ready())
    return responses.json(V2Ready(ready=False), 503, health.RETRY_AFTER)


@blueprint.get("/models/<name>")
@operation("any", "The tensors that a model takes and gives", responses={200: V2Model}, problems=UNKNOWN_PROBLEMS)
async def v2_model(name: ModelName) -> Response:
    return responses.json(await run_in_thread(_model, name, CHAMPION))


@blueprint.get("/models/<name>/versions/<version>")
@operation("any", "The tensors that a version takes and gives", responses={200: V2Model}, problems=UNKNOWN_PROBLEMS)
async def v2_version(name: ModelName, version: VersionName) -> Response:
    return responses.json(await run_in_thread(_model, name, version))


@blueprint.get("/models/<name>/ready")
@operation("any", "The model is ready", responses={200: V2ModelReady}, problems=UNKNOWN_PROBLEMS)
async def v2_model_ready(name: ModelName) -> Response:
    return responses.json(V2ModelReady((await run_in_thread(_model, name, CHAMPION)).name))


@blueprint.get("/models/<name>/versions/<version>/ready")
@operation("any", "The version is ready", responses={200: V2ModelReady}, problems=UNKNOWN_PROBLEMS)
async def v2_version_ready(name: ModelName, version: VersionName) -> Response:
    return responses.json(V2ModelReady((await run_in_thread(_model, name, version)).name))


def predict_query_of(name: str, version: str) -> PredictQuery:
    """Raises UnknownModel for names that no model or version can have."""
    try:
        return msgspec.convert({"model": name, "version": version}, PredictQuery)
    except msgspec.ValidationError:
        raise UnknownModel(f"there is no model {name[:64]} with a version {version[:64]}") from None


def _model(name: str, reference: str) -> V2Model:
    """Raises UnknownModel or UnknownVersion."""
    registry, query = service().registry, predict_query_of(name, reference)
    card = registry.look_up(name, query.version)
    schema = card.schema if card else packaged_schema(name) if query.version == CHAMPION else None
    if schema is None:
        raise unknown_error(name, query.version)
    model = registry.model(name)
    outputs = [V2TensorMetadata("predict", _label_datatype(schema), [-1, 1])]
    if schema.classes and (card is None or card.probabilities):
        outputs.append(V2TensorMetadata("predict_proba", "FP64", [-1, len(schema.classes)]))
    inputs = [V2TensorMetadata(feature.name, datatype_of_feature(feature), [-1, 1]) for feature in schema.features]
    return V2Model(name, list(map(str, model.cards)) if model else [], PLATFORM, inputs, outputs)


def _label_datatype(schema: Schema) -> Datatype:
    return datatype_of(schema.classes) if schema.task == "classification" else "FP64"
