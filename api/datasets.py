"""/datasets: what there is, and rows for one of them."""

import re

import msgspec
from flask import Blueprint
from msgspec import Struct

from api import answers
from api.exchange import Answer, aside, exchange, service
from api.ids import new_id
from api.problem import Refusal
from api.submit import submit
from api.table import TAKEN, is_table, upload
from jobs.job import Job, Kind
from models.datasets import UnknownDataset
from models.faults import Fault, InvalidInput
from models.feature import FeatureType
from models.options import AddTask

blueprint = Blueprint("datasets", __name__, url_prefix="/datasets")

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class DatasetAnswer(Struct, frozen=True):
    """``types`` by column, the target among them; ``test_share`` is null until it is first trained on."""

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


class DatasetList(Struct, frozen=True):
    datasets: list[DatasetAnswer]


@blueprint.get("")
async def list_datasets() -> Answer:
    return await aside(_list)


@blueprint.get("/<name>")
async def show_dataset(name: str) -> Answer:
    return answers.json(await aside(_answer, name))


@blueprint.post("/<name>")
async def add_rows(name: str) -> Answer:
    """A job that adds the rows of the body; it makes the data set if there is none."""
    if not NAME.fullmatch(name):
        raise InvalidInput([Fault("", "a data set's name has at most 64 lower-case letters, digits, - and _")])
    if exchange().query:
        raise InvalidInput([Fault("", "rows are added without options")])
    if not is_table():
        raise Refusal("unsupported-media-type", f"send {TAKEN}")
    sent = await aside(upload)
    record = (await aside(service().datasets.find, name)).record
    others = set(sent.columns) ^ set(record.types) if record and sent.columns else set()
    if record and others and sent.format == "csv":
        differ = f"{', '.join(sorted(others))[:300]} differ"
        raise Refusal("bad-table", f"the columns are not those of {name} ({', '.join(record.types)[:500]}): {differ}")
    if record is None and len(await aside(service().datasets.names)) >= service().settings.max_models:
        raise Refusal("too-many-datasets", "There are as many data sets as may be.")
    task = msgspec.json.encode(AddTask(name, sent.format))
    return await submit(Job(await new_id(), Kind.DATASET, name, 0, sent.rows, sent.body, task))


def _list() -> Answer:
    names = service().datasets.names()
    return answers.json(DatasetList([answer for name in names if (answer := _found(name))]))


def _answer(name: str) -> DatasetAnswer:
    found = _found(name)
    if found is None:
        known = ", ".join(service().datasets.names()) or "none yet"
        raise UnknownDataset(f"there is no data set {name[:64]}; there are: {known}")
    return found


def _found(name: str) -> DatasetAnswer | None:
    record = service().datasets.find(name).record
    if record is None:
        return None
    return DatasetAnswer(
        name=record.name,
        rows=record.rows,
        target=record.target or None,
        weight=record.weight or None,
        test_share=record.test_share or None,
        types=record.types,
        revision=record.revision,
        parts=len(record.parts),
        created_at=record.created_at,
        updated_at=record.updated_at,
    )
