"""/datasets: list and show data sets, and add rows to one."""

import re
from typing import Annotated

import msgspec
from flask import Blueprint
from msgspec import Meta, Struct

from api import caller_datasets
from api.http import responses
from api.http.body import queries_of
from api.http.context import run_in_thread, service
from api.http.operation import operation
from api.http.problems import HTTPProblem
from api.inputs.upload import ACCEPTED, TABLES, is_table, upload
from api.job_ids import new_id
from api.server.response import Response
from api.submission import submit
from api.submit_options import SubmitQuery, submit_options_of
from jobs.job import Job, Kind
from jobs.resource import JobResource
from models.datasets import DatasetRecord, unscoped_name
from models.feature import FeatureType
from models.input_errors import InputError, InvalidInput, listed
from models.options import AddTask, ColumnName, DatasetName
from models.reading import ReadOptions
from models.results import ADDITION_BYTES

blueprint = Blueprint("datasets", __name__, url_prefix="/datasets")

MAX_KEY = 20  # columns
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class AddQuery(SubmitQuery, frozen=True, forbid_unknown_fields=True):
    """``key``: a column, or several as a JSON array, by which the rows are unique from now on: of several with the same key the
    last one counts. ``dedupe``: leave out rows that are like stored ones. ``again``: add a table that was added before.
    ``look``: add nothing, and report what was understood of the table."""

    key: Annotated[str, Meta(max_length=10_000, description="the name of a column, or a JSON array of names")] = ""
    dedupe: bool = False
    again: bool = False
    look: bool = False


add_query = queries_of(AddQuery, ReadOptions)
_names = msgspec.json.Decoder(Annotated[list[ColumnName], Meta(min_length=1, max_length=MAX_KEY)])


class DatasetResource(Struct, frozen=True):
    """``types`` by column, the target among them; ``test_share`` is null until it is first trained on. ``key``: the columns by
    which its rows are unique; none: every row counts."""

    name: str
    rows: int
    target: str | None
    weight: str | None
    test_share: float | None
    types: dict[str, FeatureType]
    revision: int
    parts: int
    created_at: str
    updated_at: str
    key: list[str]


class DatasetList(Struct, frozen=True):
    datasets: list[DatasetResource]


@blueprint.get("")
@operation("any", "The caller's data sets", responses={200: DatasetList})
async def list_datasets() -> Response:
    return await run_in_thread(_list)


@blueprint.get("/<name>")
@operation("any", "A data set", responses={200: DatasetResource}, problems=("unknown-dataset",))
async def show_dataset(name: DatasetName) -> Response:
    return await run_in_thread(_show, name)


@blueprint.post("/<name>")
@operation(
    "train",
    "Add rows to a data set",
    query=(AddQuery, ReadOptions),
    takes=TABLES,
    submits=True,
    responses={200: JobResource, 202: JobResource},
    problems=("bad-table", "too-many-datasets"),
)
async def add_rows(name: DatasetName) -> Response:
    """A job that adds the rows of the body; it makes the data set if there is none. Every row counts, and the very same table is
    added once."""
    if not NAME.fullmatch(name):
        raise InvalidInput([InputError("", "a data set's name has at most 64 lower-case letters, digits, - and _")])
    query, reading = add_query()
    terms, key = submit_options_of(query), _key_of(query)
    if not is_table():
        raise HTTPProblem("unsupported-media-type", f"send {ACCEPTED}")
    table = await run_in_thread(upload)
    if table.options:
        detail = "a form for a data set has its file alone: give this in the query"
        raise InvalidInput([InputError(f"/{next(iter(table.options))[:80]}", detail)])
    record = (await run_in_thread(caller_datasets.find, name)).record
    differing = set(table.columns) ^ set(record.types) if record and table.columns else set()
    if record and differing and table.format == "csv":
        differ = f"{', '.join(sorted(differing))[:300]} differ"
        raise HTTPProblem("bad-table", f"the columns are not those of {name} ({', '.join(record.types)[:500]}): {differ}")
    missing = [column for column in key if table.columns and column not in table.columns]
    if missing and table.format == "csv":
        has = f"the columns are {listed(table.columns)[:500]}"
        raise HTTPProblem("bad-table", f"there is no column {listed(missing)[:300]} of the key; {has}")
    stored_name = await run_in_thread(caller_datasets.stored_name, name)
    if record is None and not await run_in_thread(service().datasets.has_room, stored_name, service().settings.max_models):
        raise HTTPProblem("too-many-datasets", "There are too many data sets already.")
    task = msgspec.json.encode(AddTask(stored_name, table.format, key, query.dedupe, query.again, reading, query.look))
    size = ADDITION_BYTES
    return await submit(
        Job(await new_id(), Kind.DATASET, stored_name, 0, table.rows, table.body, task, submit_options=terms, result_bytes=size)
    )


def _key_of(query: AddQuery) -> tuple[str, ...]:
    """Raises InvalidInput."""
    if query.key and query.dedupe:
        raise InvalidInput([InputError("/dedupe", "with a key like rows come in once anyway: give one or the other")])
    if not query.key.startswith("["):
        return (query.key,) if query.key else ()
    try:
        return tuple(dict.fromkeys(_names.decode(query.key)))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        expected = f"expected the name of a column, or a JSON array of 1 to {MAX_KEY} names"
        raise InvalidInput([InputError("/key", f"{expected}: {error}")]) from None


def _list() -> Response:
    records = [record for name in caller_datasets.names() if (record := caller_datasets.find(name).record)]
    return responses.json(DatasetList([_resource(record) for record in records]))


def _show(name: str) -> Response:
    return responses.json(_resource(caller_datasets.get(name)))


def _resource(record: DatasetRecord) -> DatasetResource:
    return DatasetResource(
        name=unscoped_name(record.name),
        rows=record.rows,
        target=record.target or None,
        weight=record.weight or None,
        test_share=record.test_share or None,
        types=record.types,
        revision=record.revision,
        parts=len(record.parts),
        created_at=record.created_at,
        updated_at=record.updated_at,
        key=list(record.key),
    )
