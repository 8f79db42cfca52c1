"""MLflow's scoring protocol: POST /invocations, GET /ping and GET /version."""

import re
from typing import Annotated, Any, Literal

from flask import Blueprint
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, ValidationError

from api.http import responses
from api.http.body import json_body, mimetype, query_of, read_json
from api.http.context import api_context, service
from api.http.operation import Media, operation
from api.inputs.measurements import MeasurementInput
from api.inputs.tabular import check_rows, from_columns, from_csv, from_lists, from_rows
from api.protocols.wait_for_prediction import PROBLEMS, wait_for_prediction
from api.routes import health
from api.routes.predict import PredictQuery
from api.server.response import Response
from api.version import version as own_version
from models.card import CHAMPION
from models.input_errors import InputError, InvalidInput
from models.options import ColumnName, ModelName, VersionName
from models.parquet_rows import Cell
from models.results import Label
from models.schema import Schema
from models.validation import escape, refuse_duplicates, to_input_error

blueprint = Blueprint("invocations", __name__)

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV = ("text/csv", "application/csv")
ROWS_OF_VALUES = re.compile(rb"\[\s*\[")

EXAMPLE = {
    "dataframe_split": {
        "columns": ["sepal_length", "sepal_width", "petal_length", "petal_width"],
        "data": [[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]],
    }
}

MEASUREMENTS = {"$ref": "#/components/schemas/Measurements", "type": "array"}  # a component that describes the models
VALUES = {"type": "array", "items": {"type": ["boolean", "number", "string", "null"]}, "minItems": 1}
ROWS = {"type": "array", "items": VALUES, "minItems": 1}
COLUMNS = {"type": "object", "additionalProperties": VALUES, "minProperties": 1}

Records = Annotated[Raw, Meta(description="an array of measurements", extra_json_schema=MEASUREMENTS)]
Instances = Annotated[
    Raw,
    Meta(
        description="an array of measurements, an array of arrays of values in the order of the features, or an object with an "
        "array of values for each feature",
        extra_json_schema={"anyOf": [MEASUREMENTS, ROWS, COLUMNS]},
    ),
]


class InvocationsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``version`` is a number or an alias. ``extra``: what becomes of columns that the model does not take."""

    model: ModelName = ""
    version: VersionName = CHAMPION
    extra: Literal["refuse", "drop"] = "refuse"


class Split(Struct, frozen=True, forbid_unknown_fields=True):
    """As `to_dict(orient="split")` of pandas has it. ``index`` is not looked at."""

    columns: Annotated[list[ColumnName], Meta(min_length=1, max_length=1001)]
    data: Annotated[list[list[Cell]], Meta(min_length=1)]
    index: list[Cell] | None = None


class Invocation(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``. There are no ``params``."""

    dataframe_split: Split | UnsetType = UNSET
    dataframe_records: Records | UnsetType = UNSET
    instances: Instances | UnsetType = UNSET
    inputs: Instances | UnsetType = UNSET
    params: dict[str, Any] | None = None


class InvocationPredictions(Struct, frozen=True):
    """In the order of the measurements."""

    predictions: list[Label]


invocations_query = query_of(InvocationsQuery)


@blueprint.post("/invocations")
@operation(
    "predict",
    "Predict, and wait for it",
    query=(InvocationsQuery,),
    headers=("Prefer", "traceparent"),
    takes=(Invocation, Media("text/csv", str)),
    example=EXAMPLE,
    responses={200: InvocationPredictions},
    problems=(*PROBLEMS, "bad-table"),
)
async def invocations() -> Response:
    """As MLflow's scoring server. Waits as long as the server lets anyone, or as `Prefer: wait=5` says; a job that is not done by
    then goes on, and a 504 names it. An Idempotency-Key is not heeded here: /predict does."""
    query = invocations_query()
    predict_query = PredictQuery(model=query.model, version=query.version, extra=query.extra)
    _, predictions, headers = await wait_for_prediction(predict_query, _from_csv if mimetype() in CSV else _from_json)
    return responses.json(InvocationPredictions([each.prediction for each in predictions]), 200, *headers)


@blueprint.get("/ping")
@operation("open", "Jobs are accepted and done", responses={200: Media("text/plain", str), 503: Media("text/plain", str)})
async def ping() -> Response:
    """`GET /health/ready` says why not."""
    if await health.is_ready():
        return _text("\n")
    return _text("not ready: see /health/ready\n", 503, health.RETRY_AFTER)


@blueprint.get("/version")
@operation("any", "The version of mldeploy", responses={200: Media("text/plain", str)})
async def version() -> Response:
    return _text(own_version())


def _text(text: str, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(text.encode(), status, [("Content-Type", "text/plain; charset=utf-8"), *headers])


def _from_csv(schema: Schema) -> MeasurementInput:
    return from_csv(api_context().body, schema, service().settings.max_rows)


def _from_json(schema: Schema) -> MeasurementInput:
    body = json_body(also_accepted=", or text/csv with a header line")
    invocation = read_json(body, Invocation, _input_error)
    present = [name for name in FORMS if getattr(invocation, name) is not UNSET]
    if len(present) != 1:
        raise InvalidInput([InputError("", f"give exactly one of {', '.join(FORMS)}, not {' and '.join(present) or 'none'}")])
    if invocation.params:
        raise InvalidInput([InputError("/params", "there are no params to give")])
    measurement_input = _measurements(present[0], getattr(invocation, present[0]), schema)
    refuse_duplicates(body)
    return measurement_input


def _input_error(invalid: ValidationError) -> InputError:
    """Explains the likeliest mistake: a measurement without one of the FORMS around it."""
    error = to_input_error(invalid)
    if not error.pointer and "unknown field" in error.detail:
        return InputError("", f"give the measurements as one of {', '.join(FORMS)}: {error.detail}")
    return error


def _measurements(name: str, values: Any, schema: Schema) -> MeasurementInput:
    max_rows = service().settings.max_rows
    if isinstance(values, Split):
        return _from_split(values, max_rows)
    raw = bytes(values)
    if raw[:1] == b"{" and name != "dataframe_records":
        columns = read_json(raw, dict[ColumnName, list[Cell]], lambda error: to_input_error(error, f"/{name}"))
        check_rows(max(map(len, columns.values()), default=0), max_rows)
        return from_columns(columns, {column: f"/{name}/{escape(column)}" for column in columns}, f"/{name}")
    if ROWS_OF_VALUES.match(raw) and name != "dataframe_records":
        return from_lists(raw, schema, max_rows, f"/{name}")
    if raw[:1] != b"[":
        raise InvalidInput([InputError(f"/{name}", "expected an array of measurements")])
    return MeasurementInput(raw, f"/{name}")


def _from_split(values: Split, max_rows: int) -> MeasurementInput:
    if len(set(values.columns)) < len(values.columns):
        raise InvalidInput([InputError("/dataframe_split/columns", "each column needs a name of its own")])
    check_rows(len(values.data), max_rows)
    return from_rows(values.columns, values.data, "/dataframe_split/data")
