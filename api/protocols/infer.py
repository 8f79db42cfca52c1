"""POST /v2/models/<name>/infer: predictions by the Open Inference Protocol."""

from functools import partial
from typing import Annotated, Literal

from flask import Blueprint
from msgspec import Meta, Struct
from msgspec.structs import replace

from api.http import responses
from api.http.body import json_body, read_json
from api.http.context import api_context, service
from api.http.operation import operation
from api.http.problems import HTTPProblem
from api.inputs.measurements import MeasurementInput
from api.protocols.open_inference import predict_query_of
from api.protocols.tensors import Name, OutputTensor, Parameters, Tensor, outputs_of, rows_of
from api.protocols.wait_for_prediction import PROBLEMS, wait_for_prediction
from api.server.response import Response
from models.card import CHAMPION
from models.input_errors import InputError, InvalidInput
from models.options import ModelName, VersionName
from models.schema import Schema
from models.validation import refuse_duplicates

blueprint = Blueprint("infer", __name__, url_prefix="/v2/models")

MAX_INPUTS = 1001
BINARY = "inference-header-content-length"

OutputName = Literal["predict", "predict_proba"]

EXAMPLE = {"inputs": [{"name": "predict", "shape": [1, 4], "datatype": "FP32", "data": [[5.1, 3.5, 1.4, 0.2]]}]}


class V2RequestOutput(Struct, frozen=True, forbid_unknown_fields=True):
    name: OutputName
    parameters: Parameters | None = None


class V2Request(Struct, frozen=True, forbid_unknown_fields=True):
    """``inputs``: one tensor of [rows, features], or [features] for one row, in the order of the model's features, whatever its
    name; or a tensor of [rows] or [rows, 1] for each feature, with the feature's name. ``outputs``: ``predict`` if none is named;
    ``predict_proba`` has a column per class, in the order of the model's classes."""

    inputs: Annotated[list[Tensor], Meta(min_length=1, max_length=MAX_INPUTS)]
    id: Name | None = None
    parameters: Parameters | None = None
    outputs: Annotated[list[V2RequestOutput], Meta(max_length=2)] | None = None

    @property
    def requested(self) -> list[OutputName]:
        return list(dict.fromkeys(output.name for output in self.outputs or ())) or ["predict"]


class V2Response(Struct, frozen=True, omit_defaults=True):
    """``parameters``: the ``job_id`` of the prediction, and its ``result_url``."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: dict[str, str]
    id: str | None = None


infer_operation = partial(
    operation,
    headers=("Prefer", "traceparent"),
    takes=(V2Request,),
    example=EXAMPLE,
    responses={200: V2Response},
    problems=PROBLEMS,
)


@blueprint.post("/<name>/infer")
@infer_operation("predict", "Predict with a model, and wait for it")
async def v2_infer(name: ModelName) -> Response:
    """Waits as long as the server lets anyone, or as `Prefer: wait=5` says; a job that is not done by then goes on, and a 504
    names it. An Idempotency-Key is not heeded here: /predict does."""
    return await _infer(name, CHAMPION)


@blueprint.post("/<name>/versions/<version>/infer")
@infer_operation("predict", "Predict with a version, and wait for it")
async def v2_infer_version(name: ModelName, version: VersionName) -> Response:
    """As with the model; `version` is a number or an alias."""
    return await _infer(name, version)


async def _infer(name: str, version: str) -> Response:
    if BINARY in api_context().headers:
        raise HTTPProblem("unsupported-media-type", "binary tensors are not taken: send the data as JSON")
    body, query = json_body(), predict_query_of(name, version)
    request = read_json(body, V2Request)

    def read_input(schema: Schema) -> MeasurementInput:
        measurement_input = rows_of(request.inputs, schema, service().settings.max_rows)
        refuse_duplicates(body)  # after the parse, which ensures that it is flat
        return measurement_input

    try:
        record, predictions, headers = await wait_for_prediction(
            replace(query, proba="predict_proba" in request.requested), read_input
        )
    except InvalidInput as error:  # the option /proba of a query is an output here
        raise InvalidInput(
            [InputError("/outputs" if f.pointer == "/proba" else f.pointer, f.detail) for f in error.errors]
        ) from None
    parameters = {"job_id": record.id, "result_url": f"/result/{record.id}"}
    outputs = outputs_of(predictions, request.requested)
    return responses.json(V2Response(record.model, str(record.version), outputs, parameters, request.id), 200, *headers)
