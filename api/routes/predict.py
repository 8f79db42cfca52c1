"""POST /predict: measurements in, a job out."""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import msgspec
from flask import Blueprint

from api.http.body import json_body, mimetype, query_of
from api.http.context import api_context, run_in_thread, service
from api.http.operation import operation
from api.inputs.measurements import MeasurementInput
from api.inputs.tabular import from_csv, from_ndjson, from_unpacked
from api.inputs.upload import FILES, FORMATS
from api.job_ids import common_id, new_id
from api.server.response import Response
from api.submission import submit
from api.submit_options import SubmitQuery, terms_of
from jobs.errors import AfterFailed, LedgerUnavailable, PreconditionFailed
from jobs.job import NOTHING, Job, Kind, Precondition, SubmitOptions
from jobs.resource import JobResource
from models.card import CHAMPION, Card
from models.input_errors import InputError, InvalidInput, TooManyRows
from models.options import ModelName, PredictOptions, TrainOptions, TrainTask, VersionName
from models.packaged import packaged_schema
from models.registry import UnknownModel, UnknownVersion, no_model
from models.results import TRAINING_BYTES, most_bytes
from models.schema import Measurements, Schema

T = TypeVar("T")

blueprint = Blueprint("predict", __name__)

MAX_PROBABILITIES = 1_000_000  # rows by classes in one answer
ALSO = ", or a file as text/csv, application/x-ndjson or application/vnd.apache.parquet"
LARGE = 50_000  # bytes; a larger body is read aside, and any file
MOVES = 5  # of an alias, while one request is answered
RESERVATIONS = 3  # tries; each failed training costs one


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
    answers={200: JobResource, 202: JobResource},
    problems=("unknown-model", "unknown-version", "too-many-rows", "too-many-models", "bad-table"),
)
async def predict() -> Response:
    """A file has a column for each feature; it is answered in the order of its rows."""
    asked, given_for = predict_query(), await _sent()
    return await with_version(asked, given_for, lambda jobs: submit(*jobs), terms_of(asked))


async def _sent() -> Callable[[Schema], MeasurementInput]:
    """JSON or a file as the measurements that a schema checks."""
    here, format_ = api_context(), FORMATS.get(mimetype())
    if format_ is None:
        given = MeasurementInput(json_body(also=ALSO))
        return lambda _: given
    most = here.service.settings.max_rows
    if format_ == "csv":
        return lambda schema: from_csv(here.body, schema, most)
    if format_ == "ndjson":
        return lambda _: from_ndjson(here.body, most)
    columns = await here.service.unpacking.columns(here.body, most, here.caller)
    return lambda schema: from_unpacked(columns, schema)


Jobs = tuple[Job, ...]


async def with_version(
    asked: PredictQuery,
    given_for: Callable[[Schema], MeasurementInput],
    then: Callable[[Jobs], Awaitable[T]],
    terms: SubmitOptions,
) -> T:
    """What ``then`` makes of the jobs that predict what is given with the version that serves, or is asked for; again, with what
    serves now, if that has moved meanwhile. ``given_for`` makes measurements for a schema."""
    name, registry = asked.model or service().settings.default_model, service().registry
    recalled = registry.recall(name, asked.version)
    card = recalled or await run_in_thread(registry.look_up, name, asked.version)
    for _ in range(MOVES):
        if card is None:
            return await _train_first(name, asked, given_for, then, terms)
        try:
            measured = await _check(card.schema, given_for, asked)
            _check_probabilities(card, asked)
        except InvalidInput:
            now = await run_in_thread(registry.look_up, name, asked.version) if card is recalled else card
            if now is card:
                raise
            card = now  # what is wrong for the version that was remembered may be right for the one that serves
            continue
        _check_size(measured, card.schema, asked.proba)
        expects = Precondition(*registry.expectation(name, asked.version, card.version))
        try:
            return await then((await _job(name, card.version, card.schema, measured, asked.proba, terms, expects=expects),))
        except PreconditionFailed:
            card = await run_in_thread(registry.look_up, name, asked.version)
    raise LedgerUnavailable(f"{asked.version} of {name} keeps moving")


async def _check(schema: Schema, given_for: Callable[[Schema], MeasurementInput], asked: PredictQuery) -> Measurements:
    most, drop = service().settings.max_rows, asked.extra == "drop"

    def check() -> Measurements:
        return given_for(schema).check(schema, most, drop)

    small = len(api_context().body) < LARGE and mimetype() not in FORMATS  # a file may become much larger
    return check() if small else await run_in_thread(check)


def _check_probabilities(card: Card, asked: PredictQuery) -> None:
    if asked.proba and not card.probabilities:
        raise InvalidInput(
            [InputError("/proba", f"{card.name} version {card.version} ({card.estimator}) gives no probabilities")]
        )


def _check_size(measured: Measurements, schema: Schema, proba: bool) -> None:
    if proba and len(measured.rows) * len(schema.classes) > MAX_PROBABILITIES:
        raise TooManyRows(f"{len(measured.rows)} rows of {len(schema.classes)} probabilities; at most {MAX_PROBABILITIES}")


async def _train_first(
    name: str,
    asked: PredictQuery,
    given_for: Callable[[Schema], MeasurementInput],
    then: Callable[[Jobs], Awaitable[T]],
    terms: SubmitOptions,
) -> T:
    """There is no model yet: the first request reserves a version and a training for it, and all wait for that one."""
    schema, registry = packaged_schema(name), service().registry
    if asked.version != CHAMPION or schema is None:
        raise await run_in_thread(unknown, name, asked.version)
    measured = await _check(schema, given_for, asked)
    for _ in range(RESERVATIONS):
        reserved = await run_in_thread(registry.reserve, name, await common_id())
        options = msgspec.json.encode(TrainTask(TrainOptions(model=name)))
        training = Job(reserved.job_id, Kind.TRAIN, name, reserved.version, 0, b"", options, result_bytes=TRAINING_BYTES)
        job = await _job(name, reserved.version, schema, measured, asked.proba, terms, after=reserved.job_id)
        try:
            return await then((training, job))
        except AfterFailed:
            await run_in_thread(registry.abandon, name, reserved)
    raise AfterFailed(f"{name} could not be trained {RESERVATIONS} times")


async def _job(
    name: str,
    version: int,
    schema: Schema,
    measured: Measurements,
    proba: bool,
    terms: SubmitOptions,
    after: str = "",
    expects: Precondition = NOTHING,
) -> Job:
    options, rows = PredictOptions(measured.single, proba), len(measured.rows)
    size = most_bytes(schema, rows, options)
    packed = measured.pack(), msgspec.json.encode(options)
    return Job(await new_id(), Kind.PREDICT, name, version, rows, *packed, after, expects, terms, size)


def unknown(name: str, reference: str) -> UnknownModel | UnknownVersion:
    """Why there is no card for this; not to be called on the event loop."""
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
