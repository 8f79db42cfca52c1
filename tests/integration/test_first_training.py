"""The first prediction trains the model; trainings and predictions side by side."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.job import Kind
from mldeploy.client import Client, JobFailed
from models.packaged import packaged_csv
from settings import Settings
from tests.conftest import FAST
from tests.poison import expected, row, without_workers
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]
FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


@pytest.mark.slow
def test_the_first_predictions_reserve_one_training_and_wait_for_it(assemble: Assemble) -> None:
    pieces = assemble()
    pieces.worker()
    with ThreadPoolExecutor(16) as clients:
        jobs = list(clients.map(lambda _: Client(pieces.url).predict(FLOWER), range(32)))
    assert {job.answer["model"]["version"] for job in jobs} == {1}
    assert [pieces.ledger.waiting(lane) for lane in ("train", "predict.small")] == [1, 32]
    time.sleep(1.5)  # more than the predict worker would need
    assert {job.reload().status for job in jobs} == {"queued"}
    pieces.worker(Kind.TRAIN)
    assert {job.wait(30)["prediction"] for job in jobs} == {"setosa"}
    assert [version["version"] for version in Client(pieces.url).model("iris")["versions"]] == [1]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service with a predict worker; the second test trains the first version of iris."""
    with without_workers(Settings().replace(**FAST), tmp_path_factory.mktemp("untrained")) as pieces:
        pieces.worker()
        yield pieces


def test_canceling_the_training_fails_those_who_wait_for_it(untrained: Pieces) -> None:
    client = Client(untrained.url)
    job = client.predict(FLOWER)
    training = untrained.ledger.redis.hget(untrained.ledger.prefix + "model:iris", "reserved_by")
    client.result(training.decode()).cancel()  # type: ignore[union-attr]
    with pytest.raises(JobFailed, match="could not be trained"):
        job.wait(30)


def test_waiting_predictions_fail_with_the_training_and_the_next_trains_anew(untrained: Pieces) -> None:
    blocked = Path(untrained.settings.store_location) / "iris"
    blocked.write_text("a file where a folder should be")
    client = Client(untrained.url)
    jobs = [client.predict(FLOWER) for _ in range(3)]
    (version,) = {job.answer["model"]["version"] for job in jobs}
    untrained.worker(Kind.TRAIN)
    for job in jobs:
        with pytest.raises(JobFailed, match=f"iris version {version} could not be trained"):
            job.wait(30)
    blocked.unlink()
    again = client.predict(FLOWER)
    assert again.wait(30)["prediction"] == "setosa"
    assert again.answer["model"]["version"] == version + 1


@pytest.mark.slow
def test_predictions_do_not_wait_for_a_training(assemble: Assemble) -> None:
    pieces = assemble()
    pieces.worker()
    trainer = pieces.worker(Kind.TRAIN)
    client = Client(pieces.url)
    training = client.train()
    trainer.signal_all(signal.SIGSTOP)
    assert client.predict(row(1), model="poison").wait(10)["prediction"] == expected(1)
    trainer.signal_all(signal.SIGCONT)
    training.wait(30)


@pytest.mark.slow
def test_a_training_whose_worker_dies_leaves_no_partial_version(assemble: Assemble) -> None:
    """A training is killed with -9; the serving version goes on."""
    pieces = assemble()
    pieces.worker()
    trainer = pieces.worker(Kind.TRAIN)
    client = Client(pieces.url)
    client.predict(FLOWER).wait(30)
    big = (packaged_csv("iris") or b"") + b"".join((packaged_csv("iris") or b"").partition(b"\n")[2] for _ in range(300))
    training = client.train(big, estimator="RandomForestClassifier", model="iris")
    until(lambda: client.result(training.id).status == "running", 20, "the training runs")
    trainer.kill()
    assert client.predict(FLOWER).wait(20)["prediction"] == "setosa"
    pieces.worker(Kind.TRAIN)
    assert training.wait(60)["model"]["version"] == 2
    assert training.answer["attempts"] == 2
    left = sorted(folder.name.rpartition("-")[0] for folder in (pieces.folder / "models" / "iris").iterdir())
    assert left == ["1-1", "2-2"]
