"""A training: fit on the training rows, judge champion and challenger on the same test rows, decide who serves."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sklearn
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from models import artifact
from models.card import Card, Metrics
from models.dataset import Dataset
from models.estimators import ESTIMATORS
from models.options import DEFAULT_ESTIMATOR, Promote, TrainOptions
from models.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who serves from now on, and why. ``champion`` is the version that the challenger was judged against."""

    promoted: bool
    reason: str
    champion: int | None
    champion_metrics: Metrics | None


def train(
    dataset: Dataset, options: TrainOptions, store: Path, version: int, job_id: str, attempt: int, champion: Card | None = None
) -> Card:
    """Fit, judge and write ``version``; nothing is published by it. ``attempt`` keeps the folders of attempts apart."""
    artifact.remove_earlier_attempts(store, options.model, version, attempt)
    inherited = champion.estimator if champion and champion.estimator in ESTIMATORS else DEFAULT_ESTIMATOR
    name = options.estimator or inherited
    learns = ~dataset.in_test
    estimator = ESTIMATORS[name]().fit(dataset.features[learns], dataset.labels[learns])
    metrics = judge(Predictor(dataset.schema, estimator), dataset)
    written = artifact.write(store, f"{options.model}/{version}-{attempt}", estimator, dataset.csv)
    return Card(
        name=options.model,
        version=version,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        job_id=job_id,
        estimator=name,
        schema=dataset.schema,
        training_rows=int(learns.sum()),
        data_sha256=dataset.sha256,
        metrics=metrics,
        artifact=written,
        scikit_learn=sklearn.__version__,
        python=platform.python_version(),
    )


def judge(predictor: Predictor, dataset: Dataset) -> Metrics:
    """On the data set's test rows, whose columns may come in another order than the predictor's."""
    truth: list[Any] = dataset.labels[dataset.in_test].tolist()
    columns = [dataset.schema.names.index(name) for name in predictor.schema.names]
    said = predictor.predict(dataset.features[dataset.in_test][:, columns].tolist())
    return Metrics(
        rows=len(truth),
        accuracy=float(accuracy_score(truth, said)),
        balanced_accuracy=float(balanced_accuracy_score(truth, said)),
        f1_macro=float(f1_score(truth, said, average="macro", zero_division=0)),
    )


def decide(challenger: Card, champion: Card | None, judged: Metrics | None, promote: Promote) -> Verdict:
    """The gate. ``judged`` is the champion on the challenger's test rows, None if it takes other features."""
    number = champion.version if champion else None
    if promote == "never":
        return Verdict(False, "promote=never", number, judged)
    if champion is None:
        return Verdict(True, "the first version", None, None)
    if promote == "always":
        return Verdict(True, "promote=always", number, judged)
    if judged is None:
        return Verdict(
            False, f"version {number} cannot be judged on these rows (it takes other features, or fails on them)", number, None
        )
    ours, theirs = challenger.metrics.accuracy, judged.accuracy
    compared = f"accuracy {ours:.4f} against {theirs:.4f} of version {number} on the same {judged.rows} test rows"
    return Verdict(
        ours > theirs, compared + ("" if ours > theirs else "; a tie keeps the champion" * (ours == theirs)), number, judged
    )


def comparable(one: Card, other: Card) -> bool:
    return set(one.schema.names) == set(other.schema.names) and one.schema.target == other.schema.target
