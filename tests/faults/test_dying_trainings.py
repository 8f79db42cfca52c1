"""F3 and F11 (a model's file) of the faults to survive: a training dies, or cannot save what it made."""

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
Tell = list[str]


class Trainer:
    """A worker that trains, and the trainings it is given: when one has ended, there is another."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._client = Client(pieces.url)
        self._worker = pieces.worker(Kind.TRAIN)
        self._training = self._submit()
        self._seen = ""

    def next_attempt(self) -> Path:
        """Once it fits: the folder that it will make, but for the end of its name."""
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
    return any(folder.parent.glob(f".{folder.name}-*")) or saved(folder)


def saved(folder: Path) -> bool:
    return any(folder.parent.glob(f"{folder.name}-*"))


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


def test_f3_half_written_rows_go_with_the_next_who_writes_them(assemble: Assemble) -> None:
    """What kill -9 leaves of rows that are being stored has their name, a dot before it and something behind."""
    pieces = assemble()
    pieces.worker(Kind.TRAIN)
    client, rows = Client(pieces.url), store_of(pieces) / "_datasets"
    client.train(model="iris").wait(60)
    whole = next(rows.glob("*.parquet"))
    half = whole.with_name(f".{whole.name}.half")
    half.write_bytes(whole.read_bytes()[:1000])
    client.train(packaged_csv("iris"), model="iris").wait(60)
    assert [file.name for file in rows.iterdir()] == [whole.name]


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
        assert [folder.rpartition("-")[0] for folder in folders(pieces)] == ["1-1"]
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
