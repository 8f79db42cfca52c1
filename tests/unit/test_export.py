"""An exported model takes its owner's frame, without mldeploy, and predicts what the service does."""

import importlib.util
import json
import random
import subprocess
import sys
import zipfile
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeler import artifact, dataset, estimators, export_model, table, train
from modeler.import_model import import_model
from modeler.predictor import load
from models.card import Card
from models.options import TrainOptions
from tests.missing import missing
from tests.unit.test_models import shelf_at

ALONE = """
import sys
for name in ("modeler", "models", "mldeploy", "msgspec"):
    sys.modules[name] = None  # as if it were not installed
sys.path.insert(0, sys.argv[1])
import json
import mldeploy_model
import pandas as pd
model = mldeploy_model.load()
frame = pd.read_csv("rows.csv")
found = [model.predict(frame).tolist()]
frame.day = pd.to_datetime(frame.day)
frame.code = frame.code.astype("category")
found.append(model.predict(frame).tolist())
if hasattr(model, "predict_proba"):
    found.append(model.predict_proba(frame).tolist())
print(json.dumps(found))
"""


def people(rows: int = 160) -> str:
    """Return numbers, texts, codes, dates and booleans, all with gaps, and a target of each task."""
    chance, lines = random.Random(1), []
    for n in range(rows):
        place, code = chance.choice(["north", "south", "", "far, away"]), chance.choice(["7", "12", "100", ""])
        day = "" if n % 11 == 0 else f"2024-{n % 12 + 1:02}-{n % 27 + 1:02}"
        member = chance.choice(["true", "false"])
        x = "" if n % 7 == 0 else f"{chance.gauss(0, 3):.3f}"
        y = "yes" if place == "north" or (code == "7" and n % 3) else "no"
        lines.append(f'{x},"{place}",{code},{day},{member},{n % 5},{n % 9 + (place == "south") * 3 + chance.random():.2f},{y}')
    return "x,place,code,day,member,k,price,y\n" + "\n".join(lines) + "\n"


def trained(folder: Path, target: str, options: TrainOptions) -> Card:
    whole = table.read(people().encode(), "csv")
    rows = dataset.make(whole, target, unknown="ignore")
    made = train.make(rows, train.plan(options, None, rows), 0.0, lambda *_: None)
    return train.save(made, shelf_at(folder), "m", 1, "job", "m/1-1", train.data_of(rows, "m", ()))


@pytest.mark.filterwarnings("ignore")  # warnings of estimators about so small a table
@pytest.mark.parametrize(
    ("target", "estimator", "more"),
    [
        pytest.param("y", "LogisticRegression", {}, marks=pytest.mark.slow),
        pytest.param("y", "HistGradientBoostingClassifier", {}, marks=pytest.mark.slow),
        ("y", "RandomForestClassifier", {"threshold": 0.3}),
        ("price", "HistGradientBoostingRegressor", {}),
        pytest.param("price", "Ridge", {}, marks=pytest.mark.slow),
    ],
)
def test_an_exported_pipeline_takes_the_owners_frame(tmp_path: Path, target: str, estimator: str, more: dict[str, float]) -> None:
    card = trained(tmp_path, target, TrainOptions(model="m", estimator=estimator, target=target, **more))  # type: ignore[arg-type]
    archive = export_model.export(card, artifact.verified(shelf_at(tmp_path), card))
    with zipfile.ZipFile(BytesIO(archive)) as unpacked:
        unpacked.extractall(tmp_path / "out")
    (tmp_path / "rows.csv").write_text(people())
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    predictor = load(shelf_at(tmp_path), card)
    encoded = dataset.encode(table.read(people().encode(), "csv"), card.schema)
    assert found[0] == predictor.labels(encoded).tolist()
    assert found[1] == found[0]
    if target == "y":
        probabilities = predictor.table(encoded)
        assert probabilities is not None
        np.testing.assert_allclose(found[2], probabilities, atol=1e-12)


def test_an_exported_archive_says_how_and_is_imported_again(tmp_path: Path) -> None:
    card = trained(tmp_path, "y", TrainOptions(model="m", estimator="GaussianNB", target="y"))
    archive = export_model.export(card, artifact.verified(shelf_at(tmp_path), card))
    names = zipfile.ZipFile(BytesIO(archive)).namelist()
    assert set(names) == {"model.joblib", "card.json", "pipeline.joblib", "mldeploy_model.py", "README.md"}
    said = zipfile.ZipFile(BytesIO(archive)).read("README.md").decode()
    assert "- `place`: category" in said
    assert "mldeploy_model.load()" in said
    again = import_model(archive, "again", None, "")
    assert (again.card.name, again.card.schema, again.card.origin) == ("again", card.schema, "imported")


def test_an_archive_of_the_release_before_is_imported(tmp_path: Path) -> None:
    card = trained(tmp_path, "y", TrainOptions(model="m", estimator="GaussianNB", target="y"))
    before = BytesIO()
    with zipfile.ZipFile(before, "w") as archive:
        archive.writestr("model.joblib", artifact.verified(shelf_at(tmp_path), card))
        archive.writestr("card.json", card.to_json())
    assert import_model(before.getvalue(), "again", None, "").card.schema == card.schema


def test_a_class_outside_of_scikit_learn_is_exported_with_its_labels() -> None:
    if importlib.util.find_spec("lightgbm") is None:
        missing("lightgbm")
    rows = dataset.make(table.read(people().encode(), "csv"), "y", unknown="ignore")
    unfitted = estimators.build("LGBMClassifier", {"n_estimators": 5}, rows, "lightgbm.LGBMClassifier")
    estimator = estimators.fit(unfitted, rows)
    pipeline = export_model.pipeline(rows.schema, estimator)
    labels = pipeline.predict(pd.read_csv(StringIO(people())))
    assert labels.tolist() == np.asarray(estimator.predict(rows.features)).tolist()
    assert type(pipeline[-1]).__module__ != "modeler.label_encoding"


def test_an_unknown_category_is_refused_where_the_service_refuses_it() -> None:
    rows = dataset.make(table.read(people().encode(), "csv"), "y", unknown="refuse")
    encoder = export_model.pipeline(rows.schema, None)[0]
    with pytest.raises(ValueError, match="'place': 'nowhere' is no category"):
        encoder.transform(pd.read_csv(StringIO(people())).assign(place="nowhere"))
