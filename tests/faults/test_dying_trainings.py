"""A training is killed, or cannot save its model."""

import errno
import os
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.job import Kind
from mldeploy.client import Client, Job, JobFailed
from modeler import artifact
from modeler.artifact import CARD
from models.card import from_json
from models.packaged import packaged_csv
from tests.crowd import Crowd, estimator_of, questions_of
from tests.processes import Pieces, Running, until
from tests.versions import BIG, folders, published, shelf_of, store_of

Assemble = Callable[..., Pieces]
Figures = list[str]


class Trainer:
    """A train worker, and trainings that are submitted one after another."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._client = Client(pieces.url)
        self._worker = pieces.worker(Kind.TRAIN)
        self._training = self._submit()
        self._seen = ""

    def next_attempt(self) -> Path:
        """Return the start of the name of the folder that the next attempt makes."""
        until(self._fits_anew, 60, "a training fits")
        return store_of(self._pieces) / "iris" / self._seen

    def kill(self, *, whole: bool) -> None:
        """Kill the whole group, restarted as by a supervisor, or only the training process."""
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
    return any(folder.parent.glob(f".{folder.name}-*")) or saved(folder)


def saved(folder: Path) -> bool:
    return any(folder.parent.glob(f"{folder.name}-*"))


def at_once(met: Callable[[Path], bool], folder: Path) -> None:
    """Poll without a pause, for conditions that hold for milliseconds."""
    end = time.monotonic() + 30
    while not met(folder):
        assert time.monotonic() < end, f"{folder} has not come to {met.__name__}"
        time.sleep(0.0005)


def unfinished(pieces: Pieces) -> list[str]:
    """Return the unfinished folders, whose names begin with a dot. Raises if any other is not whole and signed."""
    names = folders(pieces)
    for name in names:
        if not name.startswith("."):
            card = from_json((store_of(pieces) / "iris" / name / CARD).read_bytes())
            assert card.artifact.folder == f"iris/{name}"
            artifact.verified(shelf_of(pieces), card)
    return [name for name in names if name.startswith(".")]


def test_killed_trainings_publish_no_partial_version(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Trainings are killed while they fit, while they write and after that: predictions go on, and no partial version is seen."""
    pieces = assemble(max_deaths=100)
    pieces.worker()
    trainer_of_first = pieces.worker(Kind.TRAIN)
    Client(pieces.url).train(model="iris").wait(60)
    trainer_of_first.terminate()
    moments, torn, kills = (fitting, saving, saved), Counter[str](), 60 if chaos else 8
    with Crowd(pieces.url, questions_of(pieces, 1), connections=1) as crowd:
        trainer = Trainer(pieces)
        for turn in range(kills):
            moment = moments[turn % len(moments)]
            at_once(moment, trainer.next_attempt())
            trainer.kill(whole=turn % 7 == 0)
            torn[moment.__name__] += len(unfinished(pieces))
        result = trainer.result()
    crowd.check()
    assert {response.version for response in crowd.answers} == {1}
    assert torn["saving"], "no kill has met a half-written version: this shows nothing"
    assert folders(pieces) == published(pieces)
    assert result["metrics"]["accuracy"] > 0
    estimator_of(pieces, result["model"]["version"])
    figures.append(
        f"{kills} trainings killed, {torn['saving']} of them half-written, 0 partial versions; "
        f"{len(crowd.answers)} predictions meanwhile, 0 failed; in the end {', '.join(folders(pieces))}"
    )


def test_next_training_removes_what_a_dead_one_left(assemble: Assemble) -> None:
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


def test_next_write_removes_half_written_rows(assemble: Assemble) -> None:
    """A kill -9 leaves a partial file, named after the rows with a dot before it and a suffix."""
    pieces = assemble()
    pieces.worker(Kind.TRAIN)
    client, rows = Client(pieces.url), store_of(pieces) / "_datasets"
    client.train(model="iris").wait(60)
    whole = next(rows.glob("*.parquet"))
    half = whole.with_name(f".{whole.name}.half")
    half.write_bytes(whole.read_bytes()[:1000])
    client.train(packaged_csv("iris"), model="iris").wait(60)
    assert [file.name for file in rows.iterdir()] == [whole.name]


# A model that cannot be saved


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 MB; skips without the right to mount. Stop its users first."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill all but 1 MB of the disk, so that the model is begun and cannot be finished."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * (free - 1_000_000))
    yield
    filler.unlink()


@contextmanager
def limited(worker: Running) -> Iterator[None]:
    """Limit the files of these processes to 1 MB."""
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
        assert [folder.rpartition("-")[0] for folder in folders(pieces)] == ["1-1"]
        assert client.predict(question.row).wait(20)["prediction"] == question.labels[1]
        assert estimator_of(pieces, 1)
    trained = client.train(model="iris", **BIG, promote="always").wait(60)
    assert trained["promoted"]
    again = client.predict(question.row)
    assert again.wait(20)["prediction"]
    assert again.answer["model"]["version"] == trained["model"]["version"]
    assert folders(pieces) == published(pieces)


def test_full_disk_while_saving_a_model_keeps_the_serving_version(small_disk: Path, assemble: Assemble) -> None:
    pieces = assemble(store=str(small_disk))
    try:
        check_a_full_disk(pieces, lambda _: filled(small_disk), errno.ENOSPC)
    finally:
        pieces.stop()


def test_file_size_limit_while_saving_a_model_keeps_the_serving_version(assemble: Assemble) -> None:
    """The same as a full disk, for systems where nothing can be mounted."""
    check_a_full_disk(assemble(), limited, errno.EFBIG)
