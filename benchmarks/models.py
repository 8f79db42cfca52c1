"""The models that are measured, the same file in every system, and what they say of each row when asked directly."""

import json
import shutil
from pathlib import Path
from typing import Any

import joblib
import sklearn
from msgspec import Struct
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks.systems import Running, ledger_of
from mldeploy.client import Client
from models import artifact, dataset
from models.card import Card, Metrics, from_json
from models.packaged import packaged_csv
from models.registry import Registry

TABLE = dataset.read(packaged_csv("iris") or b"")
ROWS: list[dict[str, float]] = [dict(zip(TABLE.schema.names, row, strict=True)) for row in TABLE.features.tolist()]


class Model(Struct):
    """``labels``: of each of ROWS."""

    file: Path
    estimator: Any
    labels: list[str]


def make_all(running: Running, folder: Path) -> dict[str, Model]:
    """The tree (iris) and a forest of 100 trees as the service trains them, and a pipeline with a ColumnTransformer."""
    client = Client(running.url)
    client.train(model="iris").wait(60)
    client.train(packaged_csv("iris"), model="forest", estimator="RandomForestClassifier").wait(60)
    publish_pipeline(running)
    return {name: _of(running, folder, name) for name in ("iris", "forest", "pipeline")}


def publish_pipeline(running: Running) -> None:
    """As a training that has finished does."""
    columns = ColumnTransformer([("scale", StandardScaler(), [0, 1]), ("squeeze", MinMaxScaler(), [2, 3])])
    pipeline = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(TABLE.features, TABLE.labels)
    written = artifact.write(running.home / "models", "pipeline/1-1", pipeline, b"")
    card = Card(
        name="pipeline",
        version=1,
        created_at="",
        job_id="",
        estimator="Pipeline",
        schema=TABLE.schema,
        training_rows=len(ROWS),
        data_sha256="",
        metrics=Metrics(0, 0, 0, 0),
        artifact=written,
        scikit_learn=sklearn.__version__,
        python="",
    )
    ledger = ledger_of(running)
    for key, field, _, value in Registry(ledger.redis, ledger.prefix, ledger.guard).publication(card, None, promote=True):
        ledger.redis.hset(ledger.prefix + key, field, value)
    ledger.redis.hset(ledger.prefix + "models", "pipeline", 1)


def _of(running: Running, folder: Path, name: str) -> Model:
    """The version in service, its file copied to where the other systems find it."""
    shown = Client(running.url).model(name)
    card = from_json(json.dumps(next(v for v in shown["versions"] if v["version"] == shown["aliases"]["champion"])))
    file = folder / name / artifact.MODEL
    file.parent.mkdir()
    shutil.copy(running.home / "models" / card.artifact.folder / artifact.MODEL, file)
    estimator = joblib.load(file)
    return Model(file, estimator, [str(label) for label in estimator.predict(TABLE.features)])
