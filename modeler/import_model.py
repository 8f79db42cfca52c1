"""Imports a model that was trained elsewhere, on the operator's responsibility. Its metrics are of the operator's sample."""

import platform
import warnings
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import joblib
import msgspec
import numpy as np
from sklearn.base import is_regressor
from sklearn.exceptions import InconsistentVersionWarning

from modeler import artifact, dataset, evaluate
from modeler.dataset import Dataset
from modeler.dataset_parts import timestamp
from modeler.errors import BadTrainingData
from modeler.measures import Evaluation
from modeler.predictor import Predictor
from modeler.table import Table
from models.card import Card, Data, from_json
from models.gate import DEFAULT_METRIC
from models.schema import Schema


class CannotImport(ValueError):
    """The file has no model that can be served; the message says why."""


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model and its card, whose version and folder are not set yet."""

    card: Card
    model: bytes


def import_model(content: bytes, name: str, sample: Table | None, target: str) -> ImportedModel:
    """Import a joblib file, with a sample of rows, or an exported archive. A joblib file is unpickled, so it must be trusted.
    Raises CannotImport or BadTrainingData."""
    if zipfile.is_zipfile(BytesIO(content)):
        return _import_archive(content, name)
    if sample is None:
        raise CannotImport("give a sample of rows (--sample) and the column that it predicts (--target)")
    estimator = _load(content)
    return _import_estimator(estimator, content, name, sample, target)


def _import_archive(content: bytes, name: str) -> ImportedModel:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            card, model = from_json(archive.read(artifact.CARD)), archive.read(artifact.MODEL)
    except (KeyError, msgspec.DecodeError, zipfile.BadZipFile) as error:
        raise CannotImport(f"this is nothing that `mldeploy models export` wrote: {error}") from None
    if artifact.describe("", model).sha256 != card.artifact.sha256:
        raise CannotImport("the model in the archive is not the one of its card")
    data = msgspec.structs.replace(card.data, held_out=False, parts=())
    return ImportedModel(msgspec.structs.replace(card, name=name or card.name, data=data, origin="imported"), model)


def _load(content: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            estimator = joblib.load(BytesIO(content))
    except InconsistentVersionWarning as error:
        raise CannotImport(f"it was saved with another scikit-learn ({error}): train it again with this one") from None
    except Exception as error:
        raise CannotImport(f"joblib cannot load it: {type(error).__name__}: {error}") from error
    if not hasattr(estimator, "predict"):
        raise CannotImport(f"it holds a {type(estimator).__name__}, which does not predict")
    return estimator


def _import_estimator(estimator: Any, content: bytes, name: str, sample: Table, target: str) -> ImportedModel:
    named = getattr(estimator, "feature_names_in_", None)
    if named is not None:
        sample = _select_columns(sample, [str(column) for column in named], target)
    rows = dataset.make(sample, target, task="regression" if is_regressor(estimator) else "classification")
    schema = _checked_schema(rows, estimator)
    predictor = Predictor(schema, estimator, as_frame=named is not None)
    evaluation = _evaluate(predictor, rows)
    metric = DEFAULT_METRIC[schema.task]
    card = Card(
        name=name,
        version=0,
        created_at=timestamp(),
        job_id="",
        estimator=type(estimator).__name__,
        params={},
        schema=schema,
        data=Data(name, rows.sha256, (), len(rows.target), 0, rows.split.share, held_out=False, fitted_on_test_rows=None),
        metrics=evaluate.metrics(evaluation, metric),
        artifact=artifact.describe("", content),
        libraries=artifact.libraries(estimator),
        python=platform.python_version(),
        seconds=0.0,
        probabilities=evaluation.table is not None,
        takes="matrix" if named is None else "frame",
        origin="imported",
    )
    return ImportedModel(card, content)


def _select_columns(sample: Table, columns: list[str], target: str) -> Table:
    """Return these columns, in the order that the model expects, and the target."""
    missing = [name for name in columns if name not in sample.types]
    if missing:
        raise CannotImport(f"the model takes the columns {', '.join(missing)}, and the sample has none of that name")
    target = target or list(sample.types)[-1]
    kept = [*columns, target]
    return Table(sample.frame[kept], {name: sample.types[name] for name in kept})


def _checked_schema(rows: Dataset, estimator: Any) -> Schema:
    expected = getattr(estimator, "n_features_in_", len(rows.schema.features))
    if expected != len(rows.schema.features):
        raise CannotImport(f"the model takes {expected} features, and the sample has {len(rows.schema.features)} of use")
    return rows.schema


def _evaluate(predictor: Predictor, rows: Dataset) -> Evaluation:
    try:
        evaluation = evaluate.evaluate(predictor, rows.features, rows.target)
    except Exception as error:
        raise CannotImport(f"it fails on the sample: {type(error).__name__}: {error}") from error
    if len(evaluation.labels) != len(rows.target):
        raise CannotImport(f"it gives {len(evaluation.labels)} predictions for {len(rows.target)} rows")
    if predictor.schema.task == "classification" and not np.isin(evaluation.labels, rows.target).any():
        raise BadTrainingData(f"it predicts {evaluation.labels[0]!r} and the like, and {rows.schema.target!r} has no such class")
    return evaluation
