"""F3, F11 (a model's file) and F12 of the faults to survive: what becomes of versions and their files."""

import errno
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import psutil
import pytest
import sklearn

from jobs.job import Kind
from mldeploy.client import Client, Job, JobFailed
from models import artifact
from models.artifact import CARD, MANIFEST, MODEL, CorruptArtifact, Manifest, Shelf
from models.card import Card, Data, Metrics, from_json
from models.feature import Feature
from models.registry import Registry
from models.schema import Schema
from models.store import FolderStore
from tests.crowd import Crowd, estimator_of, flowers, key_of, questions_of
from tests.poison import FEATURES, expected, row
from tests.processes import ROOT, Pieces, Running, until

Assemble = Callable[..., Pieces]
Tell = list[str]

BIG = {"estimator": "MLPClassifier", "params": {"hidden_layer_sizes": [500, 500], "max_iter": 5}}  # 8 MB


def store_of(pieces: Pieces) -> Path:
    return Path(pieces.settings.store_location)


def shelf_of(pieces: Pieces) -> Shelf:
    return artifact.open_shelf(pieces.settings.store_location, key_of(pieces))


def folders(pieces: Pieces, name: str = "iris") -> list[str]:
    return sorted(folder.name for folder in (store_of(pieces) / name).iterdir())


def published(pieces: Pieces, name: str = "iris") -> list[str]:
    versions = Client(pieces.url).model(name)["versions"]
    return sorted(card["artifact"]["folder"].partition("/")[2] for card in versions)


# F3


class Trainer:
    """A worker that trains, and the trainings it is given: when one has ended, there is another."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._client = Client(pieces.url)
        self._worker = pieces.worker(Kind.TRAIN)
        self._training = self._submit()
        self._seen = ""

    def next_attempt(self) -> Path:
        """Once it fits: the folder that it will make."""
        until(self._fits_anew, 60, "a training fits")
        return store_of(self._pieces) / "iris" / self._seen

    def kill(self, *, whole: bool) -> None:
        """kill -9 of all of the group, started again as a supervisor does, or only of the process that trains."""
        if whole:
            self._worker.kill()
            self._worker = self._pieces.worker(Kind.TRAIN)
        else:
            for child in self._worker.family[1:]:
                with suppress(psutil.NoSuchProcess):
                    child.kill()

    def result(self) -> Any:
        return self._training.wait(60)

    def _submit(self) -> Job:
        return self._client.train(model="iris", **BIG, promote="never")

    def _fits_anew(self) -> bool:
        if self._training.reload().done:
            assert self._training.status == "succeeded", self._training.error
            self._training = self._submit()
        answer, before = self._training.answer, self._seen
        if answer["status"] != "running" or self._training.progress.get("stage") != "fit":
            return False
        self._seen = f"{answer['model']['version']}-{answer['attempts']}"
        return self._seen != before


def fitting(folder: Path) -> bool:
    return True


def saving(folder: Path) -> bool:
    return folder.with_name("." + folder.name).exists() or folder.exists()


def saved(folder: Path) -> bool:
    return folder.exists()


def at_once(met: Callable[[Path], bool], folder: Path) -> None:
    """As ``until``, for what is over within milliseconds."""
    end = time.monotonic() + 30
    while not met(folder):
        assert time.monotonic() < end, f"{folder} has not come to {met.__name__}"
        time.sleep(0.0005)


def unfinished(pieces: Pieces) -> list[str]:
    """What begins with a dot. All else is whole and signed, or this raises."""
    names = folders(pieces)
    for name in names:
        if not name.startswith("."):
            card = from_json((store_of(pieces) / "iris" / name / CARD).read_bytes())
            assert card.artifact.folder == f"iris/{name}"
            artifact.verified(shelf_of(pieces), card)
    return [name for name in names if name.startswith(".")]


def test_f3_trainings_killed_in_the_middle(assemble: Assemble, chaos: bool, tell: Tell) -> None:
    """While they fit, write, and have written; what serves goes on, and nothing half-written passes for a version."""
    pieces = assemble(max_deaths=100)
    pieces.worker()
    trainer_of_first = pieces.worker(Kind.TRAIN)
    Client(pieces.url).train(model="iris").wait(60)
    trainer_of_first.terminate()
    moments, torn, kills = (fitting, saving, saved), Counter[str](), 60 if chaos else 20
    with Crowd(pieces.url, questions_of(pieces, 1), connections=1) as crowd:
        trainer = Trainer(pieces)
        for turn in range(kills):
            moment = moments[turn % len(moments)]
            at_once(moment, trainer.next_attempt())
            trainer.kill(whole=turn % 7 == 0)
            torn[moment.__name__] += len(unfinished(pieces))
        result = trainer.result()
    crowd.check()
    assert {told.version for told in crowd.answers} == {1}
    assert torn["saving"], "no kill has met a half-written version: this shows nothing"
    assert folders(pieces) == published(pieces)
    assert result["metrics"]["accuracy"] > 0
    estimator_of(pieces, result["model"]["version"])
    tell.append(
        f"F3: {kills} trainings killed, {torn['saving']} of them half-written, 0 partial versions; "
        f"{len(crowd.answers)} predictions meanwhile, 0 failed; in the end {', '.join(folders(pieces))}"
    )


def test_f3_a_training_that_died_for_good_leaves_nothing_behind_the_next(assemble: Assemble) -> None:
    pieces = assemble()
    trainer, deaths = Trainer(pieces), pieces.settings.max_deaths
    for _ in range(deaths):
        at_once(saving, trainer.next_attempt())
        trainer.kill(whole=False)
    with pytest.raises(JobFailed, match="worker died") as failed:
        trainer.result()
    assert failed.value.type == "urn:problem-type:mldeploy:worker-died"
    client = Client(pieces.url)
    assert client.train(model="iris").wait(60)["model"]["version"] == 2
    until(lambda: folders(pieces) == published(pieces), 5, f"only what is published is left, not {folders(pieces)}")


def test_f3_half_written_rows_go_with_the_next_attempt(assemble: Assemble) -> None:
    pieces = assemble()
    trainer, client = pieces.worker(Kind.TRAIN), Client(pieces.url)
    numbers = np.random.default_rng(0).random((60_000, 4))
    table = pd.DataFrame(numbers, columns=list("abcd")).assign(kind=numbers[:, 0] > 0.5)
    training = client.train(table, model="many", estimator="GaussianNB")
    datasets = store_of(pieces) / "_datasets"
    at_once(lambda folder: any(folder.glob(".*")), datasets)
    for child in trainer.family[1:]:
        child.kill()
    if not list(datasets.glob(".*")):  # the rows were whole before the kill: as if it had met them, of the same name
        whole = next(datasets.glob("*.parquet"))
        whole.with_name(f".{whole.name}.half").write_bytes(whole.read_bytes()[:1000])
    assert training.wait(60)["model"]["version"] == 1
    assert [file.name for file in datasets.glob(".*")] == []


# F11


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB; skips without the right to mount one. What runs on it is to be stopped before."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """All but 1 MB of it: the model's file is begun and cannot be ended."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * (free - 1_000_000))
    yield
    filler.unlink()


@contextmanager
def limited(worker: Running) -> Iterator[None]:
    """No file of these processes may grow beyond 1 MB."""
    for process in worker.family:
        process.rlimit(psutil.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    yield
    for process in worker.family:
        process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def check_a_full_disk(pieces: Pieces, full: Callable[[Running], AbstractContextManager[None]], reason: int) -> None:
    pieces.worker()
    trainer, client = pieces.worker(Kind.TRAIN), Client(pieces.url)
    client.train(model="iris").wait(60)
    question = questions_of(pieces, 1)[0]
    with full(trainer):
        with pytest.raises(JobFailed, match=os.strerror(reason)) as failed:
            client.train(model="iris", **BIG, promote="always").wait(60)
        assert failed.value.type == "urn:problem-type:mldeploy:store-failed"
        assert "What serves is as it was" in failed.value.detail
        assert folders(pieces) == ["1-1"]
        assert client.predict(question.row).wait(20)["prediction"] == question.labels[1]
        assert estimator_of(pieces, 1)
    trained = client.train(model="iris", **BIG, promote="always").wait(60)
    assert trained["promoted"]
    again = client.predict(question.row)
    assert again.wait(20)["prediction"]
    assert again.answer["model"]["version"] == trained["model"]["version"]
    assert folders(pieces) == published(pieces)


def test_f11_disk_full_while_a_model_is_saved(small_disk: Path, assemble: Assemble) -> None:
    pieces = assemble(store=str(small_disk))
    try:
        check_a_full_disk(pieces, lambda _: filled(small_disk), errno.ENOSPC)
    finally:
        pieces.stop()


def test_f11_a_model_that_is_larger_than_a_file_may_be(assemble: Assemble) -> None:
    """The same where nobody may mount anything."""
    check_a_full_disk(assemble(), limited, errno.EFBIG)


# F12

ATTEMPTS = ("victim/1-2", "victim/2-1", "other/1-1", "victim/1-1")  # the first is the one that is harmed
PLACES = dict(zip(("version", "model", "attempt"), ATTEMPTS[1:], strict=True))
ROUNDS = 10  # of each harm

Harm = Callable[[Path, random.Random], None]


class Canary:
    """Whoever unpickles it makes a file."""

    def __init__(self, sings: Path) -> None:
        self._sings = sings

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._sings,)


def caged(sings: Path, seed: int) -> list[Any]:
    """The canary is unpickled first, whatever has happened to all that is behind it."""
    return [Canary(sings), random.Random(seed).randbytes(130_000)]


def truncated(victim: Path, chance: random.Random) -> None:
    content = (victim / MODEL).read_bytes()
    (victim / MODEL).write_bytes(content[: chance.randrange(len(content))])


def bit_flipped(victim: Path, chance: random.Random) -> None:
    content = bytearray((victim / MODEL).read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (victim / MODEL).write_bytes(content)


def file_of(other: str) -> Harm:
    def swap(victim: Path, _: random.Random) -> None:
        (victim / MODEL).write_bytes((victim.parent.parent / PLACES[other] / MODEL).read_bytes())

    return swap


def folder_of(other: str) -> Harm:
    """Each file of it, its signed manifest too."""

    def swap(victim: Path, _: random.Random) -> None:
        for file in (victim.parent.parent / PLACES[other]).iterdir():
            (victim / file.name).write_bytes(file.read_bytes())

    return swap


def manifest_altered(victim: Path, chance: random.Random) -> None:
    """One bit of what it says, or of its signature."""
    manifest = msgspec.json.decode((victim / MANIFEST).read_bytes())
    field = chance.choice(["name", "version", "digest", "signature"])
    if field == "version":
        manifest["version"] ^= 1 << chance.randrange(8)
    else:
        holder, key = (manifest["files"], MODEL) if field == "digest" else (manifest, field)
        place = chance.randrange(len(holder[key]))
        holder[key] = holder[key][:place] + chr(ord(holder[key][place]) ^ 1) + holder[key][place + 1 :]
    (victim / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def forged(victim: Path, chance: random.Random) -> None:
    """Another file, and a manifest that tells of it, by somebody who has no key."""
    file_of("model")(victim, chance)
    manifest = msgspec.json.decode((victim / MANIFEST).read_bytes(), type=Manifest)
    digest = artifact.describe("", (victim / MODEL).read_bytes()).sha256
    told = msgspec.structs.replace(manifest, files={**manifest.files, MODEL: digest}).signed(chance.randbytes(32))
    (victim / MANIFEST).write_bytes(msgspec.json.encode(told))


HARMS: dict[str, Harm] = {
    "truncated": truncated,
    "bit flipped": bit_flipped,
    "the file of another version": file_of("version"),
    "the file of another model": file_of("model"),
    "the file of an older attempt": file_of("attempt"),
    "the folder of another version": folder_of("version"),
    "the folder of another model": folder_of("model"),
    "the folder of an older attempt": folder_of("attempt"),
    "manifest altered": manifest_altered,
    "forged": forged,
}


@contextmanager
def harmed(victim: Path, harm: Harm, chance: random.Random) -> Iterator[None]:
    whole = {file: file.read_bytes() for file in victim.iterdir()}
    harm(victim, chance)
    assert {file: file.read_bytes() for file in victim.iterdir()} != whole
    yield
    for file, content in whole.items():
        file.write_bytes(content)


def shelve(shelf: Shelf, sings: Path) -> Card:
    """A canary in each of the folders. The card of the one that is to be harmed."""
    cards = []
    for seed, folder in enumerate(ATTEMPTS):
        model = artifact.dump(caged(sings, seed))
        name, version = folder.split("/")[0], int(folder.split("/")[1][0])
        schema = Schema(tuple(Feature(feature, "number", 0.0) for feature in FEATURES), "answer", (0,))
        data, libraries = Data(name, "", (), 0, 0, 0.2), {"scikit-learn": sklearn.__version__}
        place = artifact.describe(folder, model)
        cards.append(Card(name, version, "", "", "Canary", {}, schema, data, Metrics(0), place, libraries, "", 0.0))
        artifact.write(shelf, cards[-1], model)
    return cards[0]


def sings_when_unpickled(file: Path, sings: Path) -> bool:
    """What a service that looks at nothing would do."""
    with suppress(Exception):
        joblib.load(BytesIO(file.read_bytes()))
    heard = sings.exists()
    sings.unlink(missing_ok=True)
    return heard


@pytest.mark.parametrize("what", list(HARMS))
def test_f12_a_harmed_version_is_refused_before_a_byte_is_unpickled(tmp_path: Path, what: str) -> None:
    sings, chance = tmp_path / "sings", random.Random(what)
    shelf = Shelf(FolderStore(tmp_path / "store"), b"a key of ours")
    card = shelve(shelf, sings)
    victim, heard = tmp_path / "store" / card.artifact.folder, 0
    for _ in range(ROUNDS):
        with harmed(victim, HARMS[what], chance):
            with pytest.raises(CorruptArtifact):
                artifact.load(shelf, card)
            assert not sings.exists()
            heard += sings_when_unpickled(victim / MODEL, sings)
    assert heard > ROUNDS / 2, "where nothing would have been heard, silence shows nothing"
    artifact.load(shelf, card)
    assert sings.exists()


def test_f12_the_worker_that_meets_one_lives_and_serves_the_others(assemble: Assemble, tell: Tell) -> None:
    pieces = assemble()
    worker, client = pieces.worker(), Client(pieces.url)
    sings = pieces.folder / "sings"
    card = shelve(shelf_of(pieces), sings)
    registry = Registry(pieces.ledger.redis, pieces.ledger.prefix, pieces.ledger.guard)
    assert registry.next_version("victim") == card.version
    assert registry.apply(registry.publication(card, promote=True))
    processes = worker.family
    for number, (what, harm) in enumerate(HARMS.items()):
        with harmed(store_of(pieces) / card.artifact.folder, harm, random.Random(what)):
            bad, good = client.predict(row(number), model="victim"), client.predict(row(number), model="poison")
            with pytest.raises(JobFailed) as failed:
                bad.wait(20)
            assert failed.value.type == "urn:problem-type:mldeploy:corrupt-artifact"
            assert good.wait(20)["prediction"] == expected(number)
    assert not sings.exists()
    assert worker.family == processes
    with pytest.raises(JobFailed, match="no attribute"):  # whole again, it is loaded, and is no model
        client.predict(row(0), model="victim").wait(20)
    assert sings.exists()
    tell.append(f"F12: {len(HARMS) * ROUNDS} harmed artifacts of {len(HARMS)} kinds, 0 unpickled; {len(HARMS)} by a live worker")


# F23

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
    """The environment in which scikit-learn is the minor before ours. Skips at home, where the network may be away."""
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
    """What a version says of the rows, by its own scikit-learn and without us."""
    file = store_of(pieces) / Client(pieces.url).version("iris", version)["card"]["artifact"]["folder"] / MODEL
    asked = [sys.executable, "-c", ASK, str(file)]
    done = subprocess.run(
        asked, env={**os.environ, **environment}, input=json.dumps(rows), check=True, stdout=subprocess.PIPE, text=True
    )
    labels: list[str] = json.loads(done.stdout)
    return labels


def made_with(pieces: Pieces, version: int) -> str:
    """What the card says, and what is in the pickle."""
    card = Client(pieces.url).version("iris", version)["card"]
    told: str = card["libraries"]["scikit-learn"]
    assert told.encode() in (store_of(pieces) / card["artifact"]["folder"] / MODEL).read_bytes()
    return told


def refit(pieces: Pieces) -> None:
    command = [sys.executable, "-m", "mldeploy.operate", "refit", "iris"]
    done = subprocess.run(
        command, env=pieces.settings.environment(), cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def done_by(worker: Running, job: Job) -> bool:
    return f"-{worker.popen.pid}-" in job.answer["worker"]


def test_f23_upgrade_from_one_minor_of_scikit_learn_to_the_next(
    assemble: Assemble, before_us: dict[str, str], tell: Tell
) -> None:
    """Under load: the new beside the old, `models refit` with the new, the old stopped; jobs go to those who can."""
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
    tell.append(f"F23: {done}, 0 lost, each at its first attempt")
