"""POST /train: options, or a CSV with the options in the query; a job out."""

import csv
import io

import msgspec
from flask import Blueprint

from api.body import decode, json_body, mimetype, query_of
from api.exchange import Answer, aside, exchange, service
from api.ids import new_id
from api.problem import Refusal
from api.submit import submit
from jobs.job import Job, Kind
from models.options import TrainOptions
from models.packaged import packaged_csv, packaged_schema
from models.registry import UnknownModel
from models.schema import Fault, InvalidInput

blueprint = Blueprint("train", __name__)
train_query = query_of(TrainOptions)


@blueprint.post("/train")
async def train() -> Answer:
    return await submit(await (_from_csv() if mimetype() == "text/csv" else _from_options()))


async def _from_csv() -> Job:
    body, options = exchange().body, train_query()
    features = [] if options.model else await aside(_default_features)
    rows = await aside(_count_rows, body, options.target, features)
    return await _job(_named(options), body, rows)


async def _from_options() -> Job:
    body = json_body(also=" (options), or a CSV with 'Content-Type: text/csv'")
    options = _named(_merged(decode(body, TrainOptions) if body.strip() else TrainOptions()))
    await aside(_check_has_rows, options.model)
    return await _job(options, b"", 0)


def _named(options: TrainOptions) -> TrainOptions:
    return options if options.model else msgspec.structs.replace(options, model=service().settings.default_model)


def _default_features() -> list[str]:
    """A CSV that names no model is for the default one, and must look like it."""
    name = service().settings.default_model
    card = service().registry.look_up(name)
    schema = card.schema if card else packaged_schema(name)
    return schema.names if schema else []


def _merged(options: TrainOptions) -> TrainOptions:
    """JSON options come in the body alone: a query beside them would be a second place to look."""
    if exchange().query:
        raise InvalidInput([Fault("", "give the options in the JSON body, or send a CSV with them in the query")])
    return options


async def _job(options: TrainOptions, body: bytes, rows: int) -> Job:
    version = await aside(service().registry.next_version, options.model)
    return Job(await new_id(), Kind.TRAIN, options.model, version, rows, body, msgspec.json.encode(options))


def _check_has_rows(name: str) -> None:
    """Raises UnknownModel: a model that is not there has no rows to retrain on."""
    if service().registry.resolve(name) is None and packaged_csv(name) is None:
        known = ", ".join(service().registry.names()) or "none yet"
        raise UnknownModel(f"there is no model {name} to retrain (there are: {known}); send a CSV to make it")


def _count_rows(body: bytes, target: str, features: list[str]) -> int:
    """What can be told without reading the whole table: its header, and how many lines follow. ``features`` must be there."""
    text = _text(body)
    header = _header(text)
    if target and target not in header:
        raise Refusal("bad-csv", f"there is no column {target} to predict; the columns are {_listed(header)}")
    if not set(features) <= set(header):
        name = service().settings.default_model
        raise Refusal(
            "bad-csv", f"these are not the columns of {name} ({_listed(features)}): give model=… for a model of its own"
        )
    rows = text.rstrip("\n").count("\n")
    if rows < 1:
        raise Refusal("bad-csv", "there are no rows below the header")
    return rows


def _text(body: bytes) -> str:
    if not body.strip():
        raise Refusal("bad-csv", "the body is empty: send a CSV with a header line")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal("bad-csv", f"the CSV is not UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise Refusal("bad-csv", "the CSV holds a NUL byte")
    return text


def _header(text: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(text[:100_000])), [])
    except csv.Error as error:
        raise Refusal("bad-csv", f"the CSV's header cannot be read: {error}") from None
    if len(header) < 2:
        hint = " (one column was found: are they separated by ; ?)" if ";" in text[:1000] else ""
        raise Refusal("bad-csv", f"a CSV begins with a header line and has a target and at least one feature{hint}")
    if len(set(header)) < len(header) or not all(name.strip() for name in header):
        raise Refusal("bad-csv", "each column needs a name of its own in the header line (in pandas: to_csv(index=False))")
    return header


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, …, {names[-1]}"
