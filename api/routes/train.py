"""POST /train: submits a training as a job, with options, or with a table and its options in the query or in a form."""

from typing import Annotated

import msgspec
from flask import Blueprint
from msgspec import Meta

from api import caller_datasets
from api.http.body import decode, from_texts, json_body, queries_of
from api.http.context import api_context, run_in_thread, service
from api.http.operation import Media, operation
from api.http.problems import HTTPProblem
from api.inputs.upload import ACCEPTED, FILE, FILES, FORM, Upload, is_table, upload
from api.job_ids import new_id
from api.server.response import Response
from api.submission import submit
from api.submit_options import SubmitQuery, submit_options_of
from jobs.job import Job, Kind, SubmitOptions
from jobs.resource import JobResource
from models.catalog import check_estimator
from models.input_errors import InputError, InvalidInput, listed
from models.options import TrainOptions, TrainTask
from models.packaged import packaged_csv, packaged_schema
from models.registry import no_model
from models.results import TRAINING_BYTES

blueprint = Blueprint("train", __name__)
train_query = queries_of(TrainOptions, SubmitQuery)


class TrainForm(TrainOptions, frozen=True, kw_only=True):
    """A table with the options beside it."""

    file: Annotated[str, Meta(extra_json_schema=FILE)]


@blueprint.post("/train")
@operation(
    "train",
    "Train a version",
    query=(TrainOptions, SubmitQuery),
    takes=(TrainOptions, *FILES, Media(FORM, TrainForm)),
    body_optional=True,
    example={"model": "iris", "estimator": "RandomForestClassifier"},
    submits=True,
    responses={200: JobResource, 202: JobResource},
    problems=("bad-table", "unknown-model", "unknown-dataset", "too-many-models"),
)
async def train() -> Response:
    """With options as JSON (nothing: retrain the default model on the rows it has), or with a table and the options in the query.
    In a form the table is its file, and the options may be its other fields."""
    return await submit(await (_from_table() if is_table() else _from_options()))


async def _from_table() -> Job:
    table = await run_in_thread(upload)
    options, submit_query = train_query()
    terms = submit_options_of(submit_query)
    if table.options:
        if options != TrainOptions():
            raise InvalidInput([InputError("", "give the options in the form's fields or in the query, not in both")])
        misplaced = next((name for name in SubmitQuery.__struct_fields__ if name in table.options), None)
        if misplaced:
            raise InvalidInput(
                [InputError(f"/{misplaced}", "give this in the query: the form's fields are options of the training")]
            )
        options = from_texts(table.options, TrainOptions)
    if options.dataset and options.dataset != (options.model or service().settings.default_model):
        raise InvalidInput(
            [InputError("/dataset", "rows that are sent are of the data set with the model's name; give one or the other")]
        )
    _check_columns(table, options)
    if not options.model:
        await run_in_thread(_check_is_default, table)
    named = _with_model_name(msgspec.structs.replace(options, dataset=""))
    return await _job(named, table, terms, by_default=not options.model)


async def _from_options() -> Job:
    body = json_body(also_accepted=f" (options), or {ACCEPTED}")
    query_options, submit_query = train_query()
    if query_options != TrainOptions():
        raise InvalidInput([InputError("", "give the options in the JSON body, or send a table with them in the query")])
    terms = submit_options_of(submit_query)
    options = _with_model_name(decode(body, TrainOptions) if body.strip() else TrainOptions())
    await run_in_thread(_check_has_rows, options)
    return await _job(options, None, terms)


def _with_model_name(options: TrainOptions) -> TrainOptions:
    return options if options.model else msgspec.structs.replace(options, model=service().settings.default_model)


async def _job(options: TrainOptions, table: Upload | None, terms: SubmitOptions, by_default: bool = False) -> Job:
    check_estimator(options, service().settings.estimators)
    version = await run_in_thread(service().registry.next_version, options.model)
    stored_name = await run_in_thread(caller_datasets.stored_name, options.dataset) if options.dataset else ""
    format_ = table.format if table else None
    task = msgspec.json.encode(TrainTask(options, format_, api_context().caller, stored_name, by_default))
    rows, body = (table.rows, table.body) if table else (0, b"")
    size = TRAINING_BYTES
    return Job(await new_id(), Kind.TRAIN, options.model, version, rows, body, task, submit_options=terms, result_bytes=size)


def _check_has_rows(options: TrainOptions) -> None:
    """Raises UnknownDataset, or UnknownModel for a model that does not exist, since it has no rows to train on."""
    app_service, name = service(), options.model
    if options.dataset:
        caller_datasets.get(options.dataset)
    elif caller_datasets.find(name).record is None and app_service.registry.resolve(name) is None and packaged_csv(name) is None:
        raise no_model(name, app_service.registry.names(), hint="; send a table to make it")


def _check_columns(table: Upload, options: TrainOptions) -> None:
    for name, role in ((options.target, "to predict"), (options.weight, "of weights")):
        if name and table.columns and name not in table.columns:
            raise HTTPProblem("bad-table", f"there is no column {name} {role}; the columns are {listed(table.columns)}")


def _check_is_default(table: Upload) -> None:
    """A table without a model name is for the default model, and must have its columns; the worker checks those of Parquet."""
    name = service().settings.default_model
    card = service().registry.look_up(name)
    schema = card.schema if card else packaged_schema(name)
    if schema and table.columns and not set(schema.names) <= set(table.columns):
        detail = f"these are not the columns of {name} ({listed(schema.names)}): give model=… for a model of its own"
        raise HTTPProblem("bad-table", detail)
