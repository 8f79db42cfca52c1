"""The workers are upgraded from one minor of scikit-learn to the next, under load."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import sklearn

from jobs.job import Kind
from mldeploy.client import Client, Job
from modeler.artifact import MODEL
from tests.crowd import flowers
from tests.processes import ROOT, Pieces, Running, until
from tests.versions import store_of

Assemble = Callable[..., Pieces]
Figures = list[str]


HERE = Path(__file__).parent
RATE = 30.0  # jobs a second
STEP = 60  # jobs between two steps of the upgrade

ASK = """
import json, sys, warnings, joblib
warnings.simplefilter("error")
rows = json.load(sys.stdin)
estimator = joblib.load(sys.argv[1])
print(json.dumps(estimator.predict([list(row.values()) for row in rows]).tolist()))
"""


@pytest.fixture(scope="module")
def before_us(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of the previous minor of scikit-learn. Skips outside CI, where the network may be away."""
    place = tmp_path_factory.mktemp("scikit-learn")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    wanted = ["--target", str(place), "-r", str(HERE / "scikit-learn-1.8.txt")]
    done = subprocess.run([*pip, *wanted], check=False, capture_output=True, text=True)
    if done.returncode and os.environ.get("CI"):
        pytest.fail(done.stderr)
    if done.returncode:
        pytest.skip(f"scikit-learn 1.8 cannot be installed here: {done.stderr[-300:]}")
    return {"PYTHONPATH": str(place)}


@dataclass
class Stream:
    """Single predictions of iris at a steady rate, and the client's own log of every 202."""

    url: str
    rows: list[dict[str, float]]
    accepted: list[tuple[int, Job]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> "Stream":
        self._submitting = self._pool.submit(self._submit_on)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self._submitting.result()

    def goes_on(self, jobs: int = STEP) -> None:
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + jobs, 60, "jobs are accepted")

    def versions(self) -> list[int]:
        return [job.answer["model"]["version"] for _, job in self.accepted]

    def _submit_on(self) -> None:
        client = Client(self.url)
        for number in count():
            if self._over.wait(1 / RATE):
                return
            place = number % len(self.rows)
            self.accepted.append((place, client.predict(self.rows[place], model="iris")))


def said_by(pieces: Pieces, version: int, rows: list[dict[str, float]], environment: Mapping[str, str]) -> list[str]:
    """Predict the rows with a version in its own scikit-learn, without mldeploy."""
    file = store_of(pieces) / Client(pieces.url).version("iris", version)["card"]["artifact"]["folder"] / MODEL
    command = [sys.executable, "-c", ASK, str(file)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, input=json.dumps(rows), check=True, stdout=subprocess.PIPE, text=True
    )
    labels: list[str] = json.loads(done.stdout)
    return labels


def made_with(pieces: Pieces, version: int) -> str:
    """Return the scikit-learn of the card, after a check that the pickle has the same."""
    card = Client(pieces.url).version("iris", version)["card"]
    minor: str = card["libraries"]["scikit-learn"]
    assert minor.encode() in (store_of(pieces) / card["artifact"]["folder"] / MODEL).read_bytes()
    return minor


def refit(pieces: Pieces) -> None:
    command = [sys.executable, "-m", "mldeploy.admin.models", "refit", "iris"]
    done = subprocess.run(
        command, env=pieces.settings.environment(), cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def done_by(worker: Running, job: Job) -> bool:
    return f"-{worker.popen.pid}-" in job.answer["worker"]


def test_upgrade_between_scikit_learn_minors_loses_no_job(
    assemble: Assemble, before_us: dict[str, str], figures: Figures
) -> None:
    """New workers start beside the old, `models refit` runs with the new, and the old stop; jobs go to workers that can load
    their version."""
    pieces = assemble(predict_workers=1)
    old, client = pieces.worker(name="old", environment=before_us), Client(pieces.url)
    old_trainer = pieces.worker(Kind.TRAIN, "old-trainer", before_us)
    client.train(model="iris").wait(60)
    assert made_with(pieces, 1).startswith("1.8.")
    rows = flowers()
    with Stream(pieces.url, rows) as stream:
        stream.goes_on()
        new = pieces.worker(name="new")
        pieces.worker(Kind.TRAIN, "new-trainer")
        until(lambda: "iris/1" in client.ready()["unloadable"], 60, "the new worker has met the old version")
        assert "1.8" in client.ready()["unloadable"]["iris/1"]
        stream.goes_on()
        refit(pieces)
        assert client.model("iris")["aliases"]["champion"] == 2
        assert made_with(pieces, 2) == sklearn.__version__
        stream.goes_on()
        for worker in (old, old_trainer):
            assert worker.terminate(30) == 0
        stream.goes_on()
    by_old, by_new = said_by(pieces, 1, rows, before_us), said_by(pieces, 2, rows, {})
    for place, job in stream.accepted:
        said = job.wait(30)["prediction"]
        first = job.answer["model"]["version"] == 1
        assert said == (by_old if first else by_new)[place]
        assert done_by(old if first else new, job)
        assert job.answer["attempts"] == 1
    versions = stream.versions()
    assert versions == sorted(versions)
    assert min(versions.count(1), versions.count(2)) >= 2 * STEP
    done = " and ".join(f"{versions.count(version)} jobs by scikit-learn {made_with(pieces, version)}" for version in (1, 2))
    figures.append(f"{done}, 0 lost, each at its first attempt")
