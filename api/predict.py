"""POST /predict: measurements in, a job out."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response
from msgspec import Meta, Struct

from api.body import json_body, query
from api.service import service
from api.submit import accept, respond, submit
from jobs.errors import AfterFailed
from jobs.job import Job, Kind
from models.card import CHAMPION
from models.options import ModelName, PredictOptions, TrainOptions
from models.packaged import packaged_schema
from models.registry import UnknownModel, UnknownVersion
from models.schema import Measurements, TooManyRows

blueprint = Blueprint("predict", __name__)

MOST_PROBABILITIES = 1_000_000  # rows by classes in one answer
RESERVATIONS = 3  # tries; each failed training costs one


class PredictQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``version`` is a number or an alias."""

    model: ModelName = ""
    version: Annotated[
        str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", description="a number or an alias such as champion")
    ] = CHAMPION
    proba: bool = False


@blueprint.post("/predict")
def predict() -> Response:
    asked = query(PredictQuery)
    name = asked.model or service().settings.default_model
    body = json_body()
    version = service().registry.resolve(name, asked.version)
    card = service().registry.card(name, version) if version else None
    if card is not None:
        measured = card.schema.check(body, service().settings.max_rows)
        if asked.proba and len(measured.rows) * len(card.schema.classes) > MOST_PROBABILITIES:
            raise TooManyRows(
                f"{len(measured.rows)} rows of {len(card.schema.classes)} probabilities; at most {MOST_PROBABILITIES}"
            )
        return submit(_job(name, card.version, measured, asked.proba))
    schema = packaged_schema(name)
    if asked.version != CHAMPION or schema is None:
        raise _unknown(name, asked.version)
    return _train_first(name, schema.check(body, service().settings.max_rows), asked.proba)


def _train_first(name: str, measured: Measurements, proba: bool) -> Response:
    """There is no model yet: the first request reserves a version and a training for it, and all wait for that one."""
    ledger, registry = service().ledger, service().registry
    for _ in range(RESERVATIONS):
        reserved = registry.reserve(name, ledger.new_id())
        options = msgspec.json.encode(TrainOptions(model=name))
        training = Job(reserved.job_id, Kind.TRAIN, name, reserved.version, 0, b"", options)
        job = _job(name, reserved.version, measured, proba, after=reserved.job_id)
        try:
            return respond(job, accept([training, job])[-1])
        except AfterFailed:
            registry.abandon(name, reserved)
    raise AfterFailed(f"{name} could not be trained {RESERVATIONS} times")


def _job(name: str, version: int, measured: Measurements, proba: bool, after: str = "") -> Job:
    options = msgspec.json.encode(PredictOptions(measured.single, proba))
    job_id = service().ledger.new_id()
    return Job(job_id, Kind.PREDICT, name, version, len(measured.rows), measured.pack(), options, after)


def _unknown(name: str, reference: str) -> UnknownModel | UnknownVersion:
    model = service().registry.model(name)
    if model is None:
        known = ", ".join(service().registry.names()) or "none yet"
        return UnknownModel(f"there is no model {name}; there are: {known}")
    if not model.cards:
        return UnknownModel(f"{name} has no version yet: its training has not succeeded")
    return UnknownVersion(f"{name} has no version {reference}; it has {', '.join(map(str, [*model.aliases, *model.cards]))}")
