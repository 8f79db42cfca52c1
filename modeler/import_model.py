"""Imports a model that was trained elsewhere, on the operator's responsibility. Its metrics are of the operator's sample."""

import hashlib
import platform
import warnings
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
from sklearn.base import is_clusterer, is_outlier_detector
from sklearn.exceptions import InconsistentVersionWarning

from modeler import artifact, evaluate
from modeler.dataset_parts import timestamp
from modeler.errors import BadTrainingData
from modeler.predictor import Predictor
from modeler.sample_schema import schema_of, values_of
from models.card import Card, Data, Metrics, Takes, from_json
from models.gate import DEFAULT_METRIC
from models.input_errors import listed


class CannotImport(ValueError):
    """The file has no model that can be served; the message says why."""


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model and its card, whose version and folder are not set yet."""

    card: Card
    model: bytes


def import_model(content: bytes, name: str, sample: pd.DataFrame | None, target: str) -> ImportedModel:
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
        hint = ": put what it uses into a module that can be imported here, and save it again" if "__main__" in str(error) else ""
        raise CannotImport(f"joblib cannot load it: {type(error).__name__}: {error}{hint}") from error
    if not hasattr(estimator, "predict"):
        raise CannotImport(f"it holds a {type(estimator).__name__}, which does not predict")
    return estimator


def _import_estimator(estimator: Any, content: bytes, name: str, sample: pd.DataFrame, target: str) -> ImportedModel:
    sample = sample.rename(columns=str)
    target, features = _columns(estimator, sample, target)
    truth = sample[target] if target else None
    takes, predictor = predictor_of(estimator, sample[features], target, truth)
    schema = predictor.schema
    metrics = Metrics(0) if truth is None else _metrics(predictor, _rows(predictor, sample[features]), truth)
    card = Card(
        name=name,
        version=0,
        created_at=timestamp(),
        job_id="",
        estimator=type(estimator).__name__,
        params={},
        schema=schema,
        data=Data(name, _sha256(sample), (), len(sample), 0, 0.0, held_out=False, fitted_on_test_rows=None),
        metrics=metrics,
        artifact=artifact.describe("", content),
        libraries=artifact.libraries(estimator),
        python=platform.python_version(),
        seconds=0.0,
        probabilities=hasattr(estimator, "predict_proba"),
        takes=takes,
        origin="imported",
    )
    return ImportedModel(card, content)


def _columns(estimator: Any, sample: pd.DataFrame, target: str) -> tuple[str, list[str]]:
    """Return the column to predict, empty if there is none, and those that the model takes, in its order."""
    columns: list[str] = sample.columns.tolist()
    if target and target not in sample:
        raise CannotImport(f"the sample has no column {target!r}; it has {listed(columns)}")
    named = getattr(estimator, "feature_names_in_", None)
    expected = getattr(estimator, "n_features_in_", None)
    if named is None and target:
        features = [column for column in columns if column != target]
    elif named is None:
        unlabeled = expected == len(columns) or len(columns) == 1 or not _has_target(estimator)
        features = columns if unlabeled else columns[:-1]
    else:
        features = [str(column) for column in named]
    if missing := [column for column in features if column not in columns]:
        raise CannotImport(f"the model takes the columns {', '.join(missing)}, and the sample has none of that name")
    if named is None and expected is not None and expected != len(features):
        raise CannotImport(f"the model takes {expected} features, and the sample has {len(features)} of use")
    rest = [column for column in columns if column not in features]
    return target or (rest[-1] if rest and _has_target(estimator) else ""), features


def _has_target(estimator: Any) -> bool:
    """Whether its predictions are those of a column: clusters and outliers are not."""
    return not (is_clusterer(estimator) or is_outlier_detector(estimator))


def predictor_of(estimator: Any, features: pd.DataFrame, target: str, truth: Any) -> tuple[Takes, Predictor]:
    """Return what the model takes, as it works on the sample, and a predictor."""
    failures = []
    for takes in _candidates(estimator, features):
        try:
            schema = schema_of(estimator, features, takes, target, truth)
            predictor = Predictor(schema, estimator, takes)
            labels = predictor.labels(_rows(predictor, features))
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            failures.append(f"as a {takes}: {type(error).__name__}: {error}")
            continue
        if labels.ndim > 1:
            raise CannotImport(f"it predicts {labels.shape[1]} targets at once; a model here predicts one")
        if len(labels) == len(features):
            return takes, predictor
        failures.append(f"as a {takes} it gives {len(labels)} predictions for {len(features)} rows")
    raise CannotImport(f"it fails on the sample: {'; '.join(failures)[:1000]}")


def _candidates(estimator: Any, features: pd.DataFrame) -> list[Takes]:
    if hasattr(estimator, "feature_names_in_"):
        return ["frame"]
    numbers = all(pd.api.types.is_numeric_dtype(features[column]) for column in features)
    alone: list[Takes] = ["series"] if len(features.columns) == 1 and not numbers else []
    return ["matrix", "frame"] if numbers else [*alone, "frame"]


def _rows(predictor: Predictor, features: pd.DataFrame) -> Any:
    if predictor.schema.is_raw:
        return values_of(features, predictor.schema)
    return features.to_numpy(dtype=np.float64)


def _metrics(predictor: Predictor, rows: Any, truth: "pd.Series[Any]") -> Metrics:
    task = predictor.schema.task
    if truth.isna().any():
        raise CannotImport(f"the column {truth.name!r} of the sample has rows without a value: leave them out")
    try:
        known = truth.to_numpy(dtype=np.float64 if task == "regression" else None)
        evaluation = evaluate.evaluate(predictor, rows, known if known.dtype.kind in "biuf" else known.astype(object))
        found = evaluate.metrics(evaluation, DEFAULT_METRIC[task])
    except Exception as error:
        raise CannotImport(f"it cannot be judged by {truth.name!r}: {type(error).__name__}: {error}") from error
    if task == "classification" and not np.isin(evaluation.labels, evaluation.truth).any():
        raise BadTrainingData(f"it predicts {evaluation.labels[0]!r} and the like, and {truth.name!r} has no such class")
    return found


def _sha256(sample: pd.DataFrame) -> str:
    return hashlib.sha256(sample.to_csv(index=False).encode()).hexdigest()
