"""Artifacts, the gate, and what the door and the workers each believe about estimators."""

from pathlib import Path
from typing import get_args

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from models import artifact, train
from models.artifact import CorruptArtifact, UnloadableHere
from models.card import Card, Metrics
from models.dataset import read
from models.estimators import ESTIMATORS
from models.options import Estimator, TrainOptions
from models.packaged import packaged_csv
from models.predictor import Loaded, Predictor

IRIS = read(packaged_csv("iris") or b"")


def make(store: Path, version: int = 1, attempt: int = 1, **options: str) -> Card:
    return train.train(IRIS, TrainOptions(model="iris", **options), store, version, "job", attempt)  # type: ignore[arg-type]


def test_every_estimator_the_door_takes_can_be_trained(tmp_path: Path) -> None:
    assert set(get_args(Estimator)) == set(ESTIMATORS)
    for version, name in enumerate(ESTIMATORS):
        assert make(tmp_path, version, estimator=name).metrics.accuracy > 0.9


def test_a_trained_version_predicts_as_its_estimator_does(tmp_path: Path) -> None:
    card = make(tmp_path)
    rows = IRIS.features.tolist()
    said = Loaded(tmp_path).get(card).predict(rows)
    assert said == artifact.load(tmp_path, card).predict(np.asarray(rows)).tolist()


@pytest.mark.parametrize("harm", ["truncated", "flipped", "swapped"])
def test_an_altered_artifact_is_refused_before_it_is_unpickled(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, other = make(tmp_path), make(tmp_path, 2, estimator="GaussianNB")
    file = tmp_path / card.artifact.folder / artifact.MODEL
    content = file.read_bytes()
    harmed = {
        "truncated": content[:-1],
        "flipped": bytes([content[0] ^ 1]) + content[1:],
        "swapped": (tmp_path / other.artifact.folder / artifact.MODEL).read_bytes(),
    }
    file.write_bytes(harmed[harm])
    monkeypatch.setattr(joblib, "load", lambda _: pytest.fail("unpickled"))
    with pytest.raises(CorruptArtifact):
        artifact.load(tmp_path, card)


def test_another_minor_version_of_scikit_learn_is_refused_with_advice(tmp_path: Path) -> None:
    card = msgspec.structs.replace(make(tmp_path), scikit_learn="0.24.1")
    with pytest.raises(UnloadableHere, match=r"run a worker with 0\.24\.1, or retrain"):
        artifact.load(tmp_path, card)


def test_what_an_attempt_that_died_left_behind_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "iris" / ".3-1").mkdir(parents=True)
    (tmp_path / "iris" / "3-2").mkdir()
    (tmp_path / "iris" / "13-1").mkdir()
    make(tmp_path, 3, attempt=4)
    assert sorted(folder.name for folder in (tmp_path / "iris").iterdir()) == ["13-1", "3-4"]


def test_a_stale_attempt_never_removes_a_later_ones_work(tmp_path: Path) -> None:
    """It was frozen; meanwhile the next attempt has been published."""
    published = make(tmp_path, 3, attempt=2)
    make(tmp_path, 3, attempt=1)
    assert artifact.load(tmp_path, published)


def test_a_card_that_names_a_place_outside_the_store_is_refused(tmp_path: Path) -> None:
    card = make(tmp_path / "store")
    outside = msgspec.structs.replace(card, artifact=msgspec.structs.replace(card.artifact, folder="../elsewhere"))
    with pytest.raises(CorruptArtifact, match="outside the store"):
        artifact.load(tmp_path / "store", outside)


def test_a_forest_predicts_on_one_thread() -> None:
    forest = RandomForestClassifier(n_estimators=3, n_jobs=4).fit(IRIS.features, IRIS.labels)
    Predictor(IRIS.schema, forest)
    assert forest.n_jobs == 1


def test_a_champion_is_judged_by_name_whatever_the_order_of_columns(tmp_path: Path) -> None:
    lines = [line.split(",") for line in (packaged_csv("iris") or b"").decode().splitlines()]
    permuted = read("\n".join(",".join([c, a, d, b, y]) for a, b, c, d, y in lines).encode())
    champion = make(tmp_path)
    predictor = Predictor(champion.schema, artifact.load(tmp_path, champion))
    assert train.judge(predictor, permuted) == champion.metrics


def test_a_retraining_keeps_the_champions_estimator(tmp_path: Path) -> None:
    champion = make(tmp_path, estimator="GaussianNB")
    again = train.train(IRIS, TrainOptions(model="iris"), tmp_path, 2, "job", 1, champion)
    assert again.estimator == "GaussianNB"


def metrics(accuracy: float) -> Metrics:
    return Metrics(30, accuracy, accuracy, accuracy)


def card_with(card: Card, version: int, accuracy: float) -> Card:
    return msgspec.structs.replace(card, version=version, metrics=metrics(accuracy))


def test_the_gate(tmp_path: Path) -> None:
    made = make(tmp_path)
    challenger, champion = card_with(made, 2, 0.9), card_with(made, 1, 0.8)
    decide = train.decide
    assert decide(challenger, None, None, "if_better").promoted
    assert decide(challenger, champion, metrics(0.8), "if_better").promoted
    assert not decide(challenger, champion, metrics(0.95), "if_better").promoted
    tie = decide(challenger, champion, metrics(0.9), "if_better")
    assert (tie.promoted, "tie" in tie.reason) == (False, True)
    assert decide(challenger, champion, metrics(0.95), "always").promoted
    assert not decide(challenger, champion, metrics(0.1), "never").promoted
    assert not decide(challenger, champion, None, "if_better").promoted
