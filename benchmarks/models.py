"""The models that are measured, the same file in every system, and what they say of each row when asked directly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
from msgspec import Struct
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks.systems import Running
from mldeploy.client import Client
from modeler import artifact, dataset, table
from models.card import from_json
from models.packaged import packaged_csv

TABLE = dataset.make(table.read(packaged_csv("iris") or b"", "csv"))
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
    """As an operator brings in a model of his own."""
    columns = ColumnTransformer([("scale", StandardScaler(), [0, 1]), ("squeeze", MinMaxScaler(), [2, 3])])
    pipeline = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(TABLE.features, TABLE.target)
    file, sample = running.home / "pipeline.joblib", running.home / "iris.csv"
    joblib.dump(pipeline, file)
    sample.write_bytes(packaged_csv("iris") or b"")
    command = [sys.executable, "-m", "mldeploy.admin.models", "import", str(file), "--name", "pipeline", "--sample", str(sample)]
    subprocess.run([*command, "--home", str(running.home)], check=True, stdout=subprocess.DEVNULL)


def _of(running: Running, folder: Path, name: str) -> Model:
    """The version in service, its file copied to where the other systems find it."""
    shown = Client(running.url).model(name)
    card = from_json(json.dumps(next(v for v in shown["versions"] if v["version"] == shown["aliases"]["champion"])))
    file = folder / name / artifact.MODEL
    file.parent.mkdir()
    shutil.copy(running.home / "models" / card.artifact.folder / artifact.MODEL, file)
    estimator = joblib.load(file)
    return Model(file, estimator, [str(label) for label in estimator.predict(TABLE.features)])
