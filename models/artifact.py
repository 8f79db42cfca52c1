"""A version's files in the store. Written aside, synced, renamed; read whole and verified before a byte is unpickled."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import sklearn

from models.card import Artifact, Card

MODEL = "model.joblib"
TRAINING_SET = "training.csv"


class CorruptArtifact(RuntimeError):
    """The model's file is gone, or is not the one that its card names."""


class UnloadableHere(RuntimeError):
    """This worker cannot load the model, though another may; the message says why."""


def write(store: Path, folder: str, estimator: Any, training_set: bytes) -> Artifact:
    """Write a version's files to ``store/folder``; nothing is there before everything is."""
    model = BytesIO()
    joblib.dump(estimator, model)
    final = store / folder
    with _folder_aside(final) as aside:
        _write_synced(aside / MODEL, model.getvalue())
        _write_synced(aside / TRAINING_SET, training_set)
        _sync_folder(aside)
        aside.rename(final)
    _sync_folder(final.parent)
    return Artifact(folder, hashlib.sha256(model.getvalue()).hexdigest(), len(model.getvalue()))


def remove_earlier_attempts(store: Path, name: str, version: int, attempt: int) -> None:
    """What trainings of this version that died have left behind. Never a later attempt's: this one may be stale itself."""
    for left in (store / name).glob(f"*{version}-*"):
        stem, _, number = left.name.lstrip(".").partition("-")
        if stem == str(version) and number.isdecimal() and int(number) < attempt:
            shutil.rmtree(left, ignore_errors=True)


def load(store: Path, card: Card) -> Any:
    """The estimator. Raises CorruptArtifact, UnloadableHere, or OSError if the store is away."""
    if _minor(card.scikit_learn) != _minor(sklearn.__version__):
        raise UnloadableHere(
            f"{card.name} version {card.version} was made with scikit-learn {card.scikit_learn}, "
            f"this worker has {sklearn.__version__}: run a worker with {card.scikit_learn}, or retrain"
        )
    content = _read(store, card, MODEL)
    if hashlib.sha256(content).hexdigest() != card.artifact.sha256:
        raise CorruptArtifact(f"the file of {card.name} version {card.version} is not the one that was published")
    return joblib.load(BytesIO(content))


def training_set(store: Path, card: Card) -> bytes:
    """The rows that the version was trained and tested on, as CSV."""
    content = _read(store, card, TRAINING_SET)
    if hashlib.sha256(content).hexdigest() != card.data_sha256:
        raise CorruptArtifact(f"the training set of {card.name} version {card.version} is not the one it was trained on")
    return content


def _read(store: Path, card: Card, name: str) -> bytes:
    """A file that is gone while the store is there was lost; a store that is not there may come back (OSError)."""
    file = store / card.artifact.folder / name
    if not file.resolve().is_relative_to(store.resolve()):
        raise CorruptArtifact(f"the card of {card.name} version {card.version} names a place outside the store")
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if not store.is_dir():
            raise
        raise CorruptArtifact(f"the file {name} of {card.name} version {card.version} is gone from the store") from None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


@contextmanager
def _folder_aside(final: Path) -> Iterator[Path]:
    aside = final.with_name("." + final.name)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
