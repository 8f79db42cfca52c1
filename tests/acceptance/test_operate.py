"""The commands on the server: import and export models, refit, delete for good."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mldeploy import Client, JobFailed, Problem
from models.packaged import packaged_csv
from tests.processes import ROOT
from tests.service import Service

WINE = load_wine(as_frame=True).frame
MIXED = pd.DataFrame(
    {"alcohol": WINE.alcohol, "strength": ["strong" if value > 13 else "light" for value in WINE.alcohol], "target": WINE.target}
)


def mldeploy(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mldeploy", *arguments, "--home", str(service.home)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def done(service: Service, *arguments: str) -> str:
    completed = mldeploy(service, *arguments)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    MIXED.to_csv(tmp_path / "sample.csv", index=False)
    return tmp_path / "sample.csv"


@pytest.fixture
def pipeline(tmp_path: Path) -> Any:
    """Return a pipeline that takes a data frame by column names."""
    columns = ColumnTransformer([("numbers", StandardScaler(), ["alcohol"]), ("texts", OneHotEncoder(), ["strength"])])
    fitted = make_pipeline(columns, LogisticRegression()).fit(MIXED[["alcohol", "strength"]], MIXED.target)
    joblib.dump(fitted, tmp_path / "model.joblib")
    return fitted


def test_imported_model_serves(service: Service, client: Client, sample: Path, pipeline: Any) -> None:
    output = done(service, "models", "import", str(sample.parent / "model.joblib"), "--name", "own", "--sample", str(sample))
    assert "own version 1, and it serves" in output
    rows = MIXED[["alcohol", "strength"]]
    said = [each["prediction"] for each in client.predict(rows, model="own").wait(60)["predictions"]]
    assert said == pipeline.predict(rows).tolist()
    prediction = client.predict(rows.iloc[0], model="own", proba=True).wait(60)
    assert list(prediction["probabilities"].values()) == pytest.approx(pipeline.predict_proba(rows[:1])[0].tolist(), abs=1e-9)
    assert prediction["input"] == {"alcohol": MIXED.alcohol[0], "strength": "strong"}
    card = client.version("own")["card"]
    assert (card["origin"], card["takes"], card["data"]["held_out"], card["data"]["fitted_on_test_rows"]) == (
        "imported",
        "frame",
        False,
        None,
    )
    assert card["metrics"]["rows"] == len(MIXED)
    assert client.model("own")["moves"][0]["why"] == "imported from model.joblib"


@pytest.mark.slow
def test_exported_model_can_be_imported_under_another_name(service: Service, client: Client, tmp_path: Path) -> None:
    client.train(packaged_csv("iris"), model="exported", estimator="GaussianNB").wait(60)
    archive = tmp_path / "exported.zip"
    done(service, "models", "export", "exported", "-o", str(archive))
    assert "again version 1" in done(service, "models", "import", str(archive), "--name", "again")
    flower = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
    assert client.predict(flower, model="again").wait(60)["prediction"] == "setosa"
    assert "version 2; `mldeploy models promote again 2`" in done(service, "models", "import", str(archive), "--name", "again")


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("nonsense", (), "give a sample"),
        ("nonsense", ("sample",), "joblib cannot load it"),
        ({"no": "model"}, ("sample",), "does not predict"),
        (LogisticRegression(), ("sample",), "fails on the sample"),
        (LogisticRegression().fit([[1.0], [2.0]], [0, 1]), ("sample",), "takes 1 features, and the sample has 2"),
    ],
)
@pytest.mark.slow
def test_file_that_cannot_be_imported_says_why(
    service: Service, sample: Path, content: Any, options: tuple[str, ...], says: str
) -> None:
    file = sample.parent / "bad.joblib"
    file.write_text(content) if isinstance(content, str) else joblib.dump(content, file)
    completed = mldeploy(service, "models", "import", str(file), "--name", "bad", *(("--sample", str(sample)) if options else ()))
    assert completed.returncode == 1
    assert says in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_refit_is_as_good_and_serves(service: Service, client: Client) -> None:
    made = client.train(packaged_csv("iris"), model="refitted", estimator="LogisticRegression", params={"C": 0.5}).wait(60)
    assert "refitted: version 2, made with scikit-learn" in done(service, "models", "refit", "refitted")
    card = client.version("refitted")["card"]
    assert (card["version"], card["origin"], card["params"]) == (2, "refit", {"C": 0.5})
    assert card["metrics"] == made["metrics"]
    assert client.rollback("refitted")["aliases"]["champion"] == 1


@pytest.mark.slow
def test_a_refit_on_rows_that_were_deleted_says_so(service: Service, client: Client, sample: Path) -> None:
    client.train(sample, model="shrunk", target="target").wait(60)
    MIXED[:10].to_csv(sample, index=False)
    done(service, "datasets", "delete", "shrunk", "--rows", str(sample), "--yes")
    completed = mldeploy(service, "models", "refit", "shrunk")
    assert completed.returncode == 1
    assert "shrunk: version 1 was trained on rows that have been deleted" in completed.stderr


@pytest.mark.slow
def test_deleted_data_are_gone_and_versions_that_had_them_say_so(service: Service, client: Client, tmp_path: Path) -> None:
    client.train(packaged_csv("iris"), model="private").wait(60)
    gone = tmp_path / "gone.csv"
    gone.write_text("\n".join((packaged_csv("iris") or b"").decode().splitlines()[:11]) + "\n")
    parts = set((service.home / "models" / "_datasets").iterdir())
    output = done(service, "datasets", "delete", "private", "--rows", str(gone), "--yes")
    assert "deleted 10 rows of private; 1 versions were trained on rows that are gone" in output
    assert client.dataset("private")["rows"] == 140
    assert "rows of the data set private were deleted" in client.version("private")["notes"][0]
    refitted = mldeploy(service, "models", "refit", "private")  # iris has the same rows, so they are still in the store
    assert refitted.returncode == 1
    assert "private: version 1 was trained on rows that have been deleted" in refitted.stderr
    assert client.train(model="private").wait(60)["dataset"]["rows"] == 140
    assert "deleted 140 rows" in done(service, "datasets", "delete", "private", "--yes")
    with pytest.raises(Problem, match="no data set private"):
        client.dataset("private")
    left = set((service.home / "models" / "_datasets").iterdir())
    assert left <= parts


@pytest.mark.slow
def test_a_deleted_model_is_gone_and_its_jobs_fail(service: Service, client: Client) -> None:
    client.train(packaged_csv("iris"), model="doomed").wait(60)
    client.train(model="doomed").wait(60)
    assert "move that first" in mldeploy(service, "models", "delete", "doomed", "--version", "1", "--yes").stderr
    assert "deleted doomed version 2" in done(service, "models", "delete", "doomed", "--version", "2", "--yes")
    assert "deleted doomed and its 1 versions" in done(service, "models", "delete", "doomed", "--yes")
    assert not (service.home / "models" / "doomed").exists()
    with pytest.raises(Problem, match="no model doomed"):
        client.model("doomed")
    flower = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
    with pytest.raises((Problem, JobFailed), match="doomed"):
        client.predict(flower, model="doomed").wait(30)


def test_without_a_service_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mldeploy", "models", "refit", "--home", str(tmp_path)]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 1
    assert "start it with `mldeploy up`" in completed.stderr


def test_rows_are_added_from_the_shell(service: Service, tmp_path: Path) -> None:
    table = tmp_path / "more.ndjson"
    table.write_text("".join(json.dumps({"a": n, "b": n * 2, "y": n % 2}) + "\n" for n in range(30)))
    command = [sys.executable, "-m", "mldeploy", "datasets", "add", "shell", str(table), "--url", service.url]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(completed.stdout)["result"].items() >= {"dataset": "shell", "added": 30, "rows": 30, "revision": 1}.items()
    keyed = [*command, "--key", "a"]
    completed = subprocess.run(keyed, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(completed.stdout)["result"].items() >= {"added": 0, "unchanged": 30, "same_file": True}.items()


@pytest.mark.slow
def test_version_numbers_are_never_reused(service: Service, client: Client) -> None:
    """Whoever still knows the old version 1 must not take a new one for it."""
    flower = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
    client.train(packaged_csv("iris"), model="reborn").wait(60)
    client.predict(flower, model="reborn").wait(30)
    done(service, "models", "delete", "reborn", "--yes")
    done(service, "datasets", "delete", "reborn", "--yes")
    other = "a,b,y\n" + "".join(f"{n % 17},{n % 13},{'up' if n % 17 > 8 else 'down'}\n" for n in range(200))
    assert client.train(other, model="reborn").wait(60)["model"]["version"] == 2
    assert client.predict({"a": 16, "b": 1}, model="reborn").wait(30)["prediction"] == "up"
    with pytest.raises(Problem, match="unknown field"):
        client.predict(flower, model="reborn")
