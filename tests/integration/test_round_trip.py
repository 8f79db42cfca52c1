"""What the client trained on, it predicts; and labels come back as the values that went in."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mldeploy.client import Client, JobFailed
from tests.service import Service

PATIENCE = 60.0
ROWS = 120
STEPS = np.arange(ROWS)
FRAME = pd.DataFrame(
    {
        "text": np.array(["None", "NA", "02138", "x"], dtype=object)[STEPS % 4],
        "gaps": np.array(["a", None, "NA"], dtype=object)[STEPS % 3],
        "category": pd.Categorical(STEPS % 5),
        "flag": pd.array([None if n % 7 == 0 else n % 2 == 0 for n in STEPS], dtype="boolean"),
        "count": pd.array([None if n % 11 == 0 else int(n) for n in STEPS], dtype="Int64"),
        "price": [Decimal(int(n)) / 8 for n in STEPS],
        "single": STEPS.astype("float32") / 3,
        "day": [dt.date(2026, 1, 1) + dt.timedelta(days=int(n)) for n in STEPS],
        "moment": pd.date_range("2026-01-01 10:00:00.123456", periods=ROWS, freq="37s", tz="Europe/Berlin"),
        7: STEPS % 13,
        "mixed": [n if n % 2 else f"no {n % 4}" for n in (STEPS % 8).tolist()],
    }
).rename_axis("row")
LABELS: dict[str, list[Any]] = {
    "texts": ["a", "b"],
    "numbers-as-text": ["2", "10"],
    "leading-zeros": ["007", "7"],
    "words-for-gaps": ["None", "NA"],
    "words-for-booleans": ["True", "no"],
    "booleans": [True, False],
    "integers": [-3, 10],
    "numpy": [np.int8(1), np.int8(2)],
    "days": [dt.date(2026, 1, 31), dt.date(2026, 2, 1)],
}


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_the_values_that_went_in(client: Client, kind: str) -> None:
    labels = [LABELS[kind][n // 2 % 2] for n in range(ROWS)]
    frame = pd.DataFrame({"a": [n // 2 % 2 + 0.001 * n for n in range(ROWS)], "label": labels})
    name = f"{kind}-{uuid.uuid4().hex[:8]}"
    options: dict[str, Any] = {
        "target": "label",
        "task": "classification",
        "estimator": "DecisionTreeClassifier",
        "promote": "never",
    }
    client.train(frame, model=name, **options).wait(PATIENCE)
    answered = [each["prediction"] for each in client.predict(frame[["a"]], model=name, version=1).wait(PATIENCE)["predictions"]]
    went_in = [label.isoformat() if kind == "days" else label for label in frame["label"].tolist()]
    assert {(type(label), label) for label in answered} == {(type(label), label) for label in went_in}


def test_frame_that_was_trained_on_is_predicted(client: Client) -> None:
    """A tree knows each row of its training by heart, if it gets the same values."""
    name = f"frame-{uuid.uuid4().hex[:8]}"
    trained = client.train(
        FRAME.assign(y=STEPS / 2), model=name, target="y", task="regression", estimator="DecisionTreeRegressor", promote="never"
    ).wait(PATIENCE)
    types = {each["name"]: each["type"] for each in client.version(name, 1)["card"]["schema"]["features"]}
    assert types == {
        "row": "integer",
        "text": "category",
        "gaps": "category",
        "category": "integer",
        "flag": "boolean",
        "count": "integer",
        "price": "number",
        "single": "number",
        "day": "date",
        "moment": "date",
        "7": "integer",
        "mixed": "category",
    }
    answered = client.predict(FRAME, model=name, version=1).wait(PATIENCE)["predictions"]
    exact = sum(each["prediction"] == n / 2 for n, each in enumerate(answered))
    assert exact == trained["dataset"]["training_rows"]


def test_slices_and_rows_of_a_frame_are_predicted_like_the_whole(client: Client, tmp_path: Path) -> None:
    """So are files of it."""
    name = f"slices-{uuid.uuid4().hex[:8]}"
    client.train(FRAME.assign(y=STEPS / 2), model=name, target="y", task="regression", promote="never").wait(PATIENCE)
    whole = client.predict(FRAME, model=name, version=1).wait(PATIENCE)["predictions"]
    for n in (0, 1, 2, 7):
        assert client.predict(FRAME.iloc[n : n + 1], model=name, version=1).wait(PATIENCE)["predictions"] == whole[n : n + 1]
    plain = FRAME.reset_index().drop(columns="mixed").assign(mixed=FRAME["mixed"].map(str).tolist())
    plain.columns = plain.columns.map(str)
    plain.to_parquet(tmp_path / "rows.parquet")
    assert client.predict(tmp_path / "rows.parquet", model=name, version=1).wait(PATIENCE)["predictions"] == whole
    single = client.predict(plain.iloc[5], model=name, version=1).wait(PATIENCE)
    assert single["prediction"] == whole[5]["prediction"]


def test_frame_of_other_columns_is_not_taken_for_the_default_models(client: Client) -> None:
    """Parquet's columns are not looked at before the job runs."""
    with pytest.raises(JobFailed, match=r"these are not the columns of iris .*: give model=… for a model of its own"):
        client.train(FRAME.drop(columns="mixed")).wait(PATIENCE)


def test_lines_that_were_trained_on_are_predicted(client: Client, tmp_path: Path) -> None:
    """A column of numbers and texts has texts, also where a line has a number."""
    lines, mixed = tmp_path / "rows.ndjson", FRAME["mixed"].tolist()
    table = pd.DataFrame({"a": mixed, "when": [f"2026-01-31T10:{n // 60:02d}:{n % 60:02d}" for n in STEPS], "y": STEPS / 2})
    table.to_json(lines, orient="records", lines=True)
    name = f"lines-{uuid.uuid4().hex[:8]}"
    client.train(lines, model=name, target="y", task="regression", promote="never").wait(PATIENCE)
    answered = client.predict(lines, model=name, version=1, drop_extra=True).wait(PATIENCE)["predictions"]
    texts = [{"a": str(row["a"]), "when": row["when"]} for row in table.to_dict("records")]
    assert answered == client.predict(texts, model=name, version=1).wait(PATIENCE)["predictions"]
