"""One home trains and another predicts; they share only Redis, the signing key and an S3 bucket."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.job import Kind
from mldeploy.client import Client, JobFailed
from models.packaged import packaged_csv
from tests.processes import Pieces
from tests.s3_server import S3Server

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    server = S3Server(tmp_path)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.make_bucket("models")
    yield server
    server.stop()


@pytest.mark.slow
def test_trained_on_one_home_and_predicted_from_another(s3: S3Server, assemble: Callable[..., Pieces], tmp_path: Path) -> None:
    first = assemble(store="s3://models/mldeploy", signing_key="the same on both", train_workers=1, predict_workers=1)
    second = Pieces(first.settings, tmp_path / "there")
    second.settings = first.settings.replace(home=str(tmp_path / "there"))
    first.worker(Kind.TRAIN)
    client = Client(first.url)
    trained = client.train(packaged_csv("iris"), model="iris", estimator="RandomForestClassifier").wait(90)
    assert trained["promoted"]
    second.ledger = first.ledger
    worker = second.worker()
    try:
        assert client.predict(FLOWER, model="iris").wait(60)["prediction"] == "setosa"
        added = client.add_rows("iris", (packaged_csv("iris") or b"") + b"4.95,3.05,1.35,0.15,setosa\n", dedupe=True).wait(60)
        assert (added["added"], added["rows"]) == (1, 151)
        again = client.train(model="iris", promote="always").wait(90)
        assert again["dataset"]["rows"] == 151
        assert client.predict(FLOWER, model="iris").wait(60)
        assert not (Path(first.settings.home) / "models" / "iris").exists()
        s3.stop()
        with pytest.raises(JobFailed, match="What serves is as it was"):
            client.train(model="iris").wait(120)
        assert client.predict(FLOWER, model="iris").wait(60)["prediction"] == "setosa"
    finally:
        worker.kill()
