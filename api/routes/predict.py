"""POST /predict: submits a prediction of measurements as a job."""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import msgspec
from flask import Blueprint

from api.http.body import json_body, mimetype, query_of
from api.http.context import api_context, run_in_thread, service
from api.http.operation import operation
from api.inputs.measurements import MeasurementInput
from api.inputs.tabular import from_csv, from_ndjson, from_parquet
from api.inputs.upload import FILES, FORMATS
from api.job_ids import new_id, new_shared_id
from api.server.response import Response
from api.submission import submit
from api.submit_options import SubmitQuery, submit_options_of
from jobs.errors import AfterFailed, LedgerUnavailable, PreconditionFailed
from jobs.job import NO_PRECONDITION, Job, Kind, Precondition, SubmitOptions
from jobs.resource import JobResource
from models.card import CHAMPION, Card
from models.input_errors import InputError, InvalidInput, TooManyRows
from models.options import ModelName, PredictOptions, TrainOptions, TrainTask, VersionName
from models.packaged import packaged_schema
from models.registry import UnknownModel, UnknownVersion, no_model
from models.results import TRAINING_BYTES, max_result_bytes
from models.schema import Measurements, Schema

T = TypeVar("T")

blueprint = Blueprint("predict", __name__)

MAX_PROBABILITIES = 1_000_000  # rows times classes in one response
OTHER_FORMATS = ", or a file as text/csv, application/x-ndjson or application/vnd.apache.parquet"
LARGE_BODY = 50_000  # bytes; a larger body, and every file, is parsed in a thread
MAX_MOVES = 5  # of an alias during one request
MAX_RESERVATIONS = 3  # each failed training costs one


class PredictQuery(SubmitQuery, frozen=True, forbid_unknown_fields=True):
    """``version`` is a number or an alias. ``extra``: what becomes of fields that the model does not take."""

    model: ModelName = ""
    version: VersionName = CHAMPION
    proba: bool = False
    extra: Literal["refuse", "drop"] = "refuse"


predict_query = query_of(PredictQuery)


@blueprint.post("/predict")
@operation(
    "predict",
    "Predict one measurement, many, or a file of them",
    query=(PredictQuery,),
    takes=(Measurements, *FILES),
    submits=True,
    responses={200: JobResource, 202: JobResource},
    problems=("unknown-model", "unknown-version", "too-many-rows", "too-many-models", "bad-table"),
)
async def predict() -> Response:
    """A file has a column for each feature; it is answered in the order of its rows."""
    query, read_input = predict_query(), await _input_reader()
    return await with_version(query, read_input, lambda jobs: submit(*jobs), submit_options_of(query))


async def _input_reader() -> Callable[[Schema], MeasurementInput]:
    """Returns a function that reads the body, JSON or a file, as measurements for a schema."""
    context, format_ = api_context(), FORMATS.get(mimetype())
    if format_ is None:
        measurement_input = MeasurementInput(json_body(also_accepted=OTHER_FORMATS))
        return lambda _: measurement_input
    max_rows = context.service.settings.max_rows
    if format_ == "csv":
        return lambda schema: from_csv(context.body, schema, max_rows)
    if format_ == "ndjson":
        return lambda schema: from_ndjson(context.body, schema, max_rows)
    columns = await context.service.parquet_process.columns(context.body, max_rows, context.caller)
    return lambda schema: from_parquet(columns, schema)


Jobs = tuple[Job, ...]


async def with_version(
    query: PredictQuery,
    read_input: Callable[[Schema], MeasurementInput],
    submit_jobs: Callable[[Jobs], Awaitable[T]],
    terms: SubmitOptions,
) -> T:
    """Makes a prediction job for the requested version, and returns the result of ``submit_jobs``. Tries again if the
    alias has moved meanwhile. ``read_input`` reads the measurements for a schema."""
    name, registry = query.model or service().settings.default_model, service().registry
    cached = registry.cached_card(name, query.version)
    card = cached or await run_in_thread(registry.look_up, name, query.version)
    for _ in range(MAX_MOVES):
        if card is None:
            return await _train_first(name, query, read_input, submit_jobs, terms)
        try:
            measurements = await _check(card.schema, read_input, query)
            _check_probabilities(card, query)
        except InvalidInput:
            current = await run_in_thread(registry.look_up, name, query.version) if card is cached else card
            if current is card:
                raise
            card = current  # input that the cached version refuses may be valid for the one that serves now
            continue
        _check_size(measurements, card.schema, query.proba)
        expects = Precondition(*registry.expectation(name, query.version, card.version))
        try:
            return await submit_jobs(
                (await _job(name, card.version, card.schema, measurements, query.proba, terms, expects=expects),)
            )
        except PreconditionFailed:
            card = await run_in_thread(registry.look_up, name, query.version)
    raise LedgerUnavailable(f"{query.version} of {name} keeps moving")


async def _check(schema: Schema, read_input: Callable[[Schema], MeasurementInput], query: PredictQuery) -> Measurements:
    max_rows, drop = service().settings.max_rows, query.extra == "drop"

    def check() -> Measurements:
        return read_input(schema).check(schema, max_rows, drop)

    small = len(api_context().body) < LARGE_BODY and mimetype() not in FORMATS  # a file may be much larger when it is parsed
    return check() if small else await run_in_thread(check)


def _check_probabilities(card: Card, query: PredictQuery) -> None:
    if query.proba and not card.probabilities:
        raise InvalidInput(
            [InputError("/proba", f"{card.name} version {card.version} ({card.estimator}) gives no probabilities")]
        )


def _check_size(measurements: Measurements, schema: Schema, proba: bool) -> None:
    if proba and len(measurements.rows) * len(schema.classes) > MAX_PROBABILITIES:
        raise TooManyRows(f"{len(measurements.rows)} rows of {len(schema.classes)} probabilities; at most {MAX_PROBABILITIES}")


async def _train_first(
    name: str,
    query: PredictQuery,
    read_input: Callable[[Schema], MeasurementInput],
    submit_jobs: Callable[[Jobs], Awaitable[T]],
    terms: SubmitOptions,
) -> T:
    """Submits the first training of the packaged model together with the prediction, which runs after it. Only the first request
    reserves a version and a training; later ones wait for the same training."""
    schema, registry = packaged_schema(name), service().registry
    if query.version != CHAMPION or schema is None:
        raise await run_in_thread(unknown_error, name, query.version)
    measurements = await _check(schema, read_input, query)
    for _ in range(MAX_RESERVATIONS):
        reserved = await run_in_thread(registry.reserve, name, await new_shared_id())
        options = msgspec.json.encode(TrainTask(TrainOptions(model=name)))
        training = Job(reserved.job_id, Kind.TRAIN, name, reserved.version, 0, b"", options, result_bytes=TRAINING_BYTES)
        job = await _job(name, reserved.version, schema, measurements, query.proba, terms, after=reserved.job_id)
        try:
            return await submit_jobs((training, job))
        except AfterFailed:
            await run_in_thread(registry.abandon, name, reserved)
    raise AfterFailed(f"{name} could not be trained {MAX_RESERVATIONS} times")


async def _job(
    name: str,
    version: int,
    schema: Schema,
    measurements: Measurements,
    proba: bool,
    terms: SubmitOptions,
    after: str = "",
    expects: Precondition = NO_PRECONDITION,
) -> Job:
    options, rows = PredictOptions(measurements.single, proba), len(measurements.rows)
    packed = measurements.pack(), msgspec.json.encode(options)
    size = max_result_bytes(schema, rows, options, len(packed[0]))
    return Job(await new_id(), Kind.PREDICT, name, version, rows, *packed, after, expects, terms, size)


def unknown_error(name: str, reference: str) -> UnknownModel | UnknownVersion:
    """The error for a model or a version that does not exist. Must not be called on the event loop."""
    model = service().registry.model(name)
    if model is None:
        return no_model(name, service().registry.names())
    if not model.cards:
        return UnknownModel(f"{name} has no version yet: its training has not succeeded")
    if reference == CHAMPION:
        return UnknownVersion(
            f"no version of {name} serves yet: none was promoted. PUT /models/{name}/aliases/champion (`mldeploy models promote "
            f"{name} N`) promotes one of {', '.join(map(str, model.cards))}"
        )
    return UnknownVersion(f"{name} has no version {reference}; it has {', '.join(map(str, [*model.aliases, *model.cards]))}")
