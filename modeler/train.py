"""A training: fit on the training rows, judge on the test rows, write the version; and hold it against the one in service."""

import logging
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeler import artifact, estimators, evaluate
from modeler.artifact import ArtifactStore
from modeler.dataset import Dataset, encode, target_of
from modeler.dataset_parts import timestamp
from modeler.evaluate import USUAL_CONFIDENCE, Evaluation
from modeler.predictor import Predictor, load
from modeler.search import search
from modeler.split import below, row_hashes
from modeler.table import BadTrainingData, Table, concat
from models.card import Card, Data, Origin, from_json
from models.gate import USUAL_METRIC, Comparison
from models.options import AUTO, CLASSIFICATION_METRICS, REGRESSION_METRICS, Metric, TrainOptions
from models.schema import Schema

log = logging.getLogger("mldeploy.models")

Report = Callable[[int, int, str], None]  # done, total, stage

MAX_WARNINGS = 5
MAX_WARNING = 500  # characters

STAGES = ("read", "search", "fit", "judge", "save", "load")


def stage(name: str) -> tuple[int, int, str]:
    """As it is reported."""
    return STAGES.index(name), len(STAGES), name


class NotWhatWasSaved(RuntimeError):
    """The model that comes back from the store does not predict what the one in memory does."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained: asked for, or as the champion was. ``searches``: seconds."""

    estimator: str
    params: Mapping[str, Any]
    searches: float
    metric: Metric
    allowed: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A version that is yet to be given its number and place."""

    estimator: Any
    model: bytes
    predictor: Predictor
    dataset: Dataset
    judged: Evaluation
    baseline: Evaluation
    name: str
    params: Mapping[str, Any]
    found: dict[str, Any] | None
    metric: Metric
    confidence: float
    began: float
    warnings: tuple[str, ...] = ()


def plan(options: TrainOptions, champion: Card | None, dataset: Dataset, default: str = AUTO, allowed: str = "") -> Plan:
    """Raises BadTrainingData for a metric of another task."""
    inherits = champion is not None and champion.origin != "imported" and champion.schema.task == dataset.schema.task
    name = options.estimator or (champion.estimator if champion and inherits else default)
    params = dict(options.params)
    if champion and inherits and name == champion.estimator and not params:
        found = champion.search or {} if options.search else {}  # what a search found is searched again
        params = {param: value for param, value in champion.params.items() if param not in found}
    task = dataset.schema.task
    metric = options.metric or (metric_of(champion) if champion and inherits else USUAL_METRIC[task])
    if metric not in (CLASSIFICATION_METRICS if task == "classification" else REGRESSION_METRICS):
        raise BadTrainingData(f"{metric} is no metric of a {task}")
    return Plan(estimators.chosen(name, dataset), params, options.search, metric, allowed)


def metric_of(card: Card) -> Metric:
    """What the version was judged by."""
    return card.metrics.interval.metric if card.metrics.interval else USUAL_METRIC[card.schema.task]


def make(dataset: Dataset, planned: Plan, confidence: float, report: Report) -> Made:
    """Search, fit and judge. Raises BadTrainingData, or whatever an estimator raises."""
    began = time.monotonic()
    estimator = estimators.build(planned.estimator, planned.params, dataset, planned.allowed)
    found = None
    if planned.searches:
        found = search(estimator, planned.estimator, planned.params, dataset, planned.metric, planned.searches, report)
        estimator = estimators.build(planned.estimator, {**planned.params, **found}, dataset, planned.allowed)
    report(*stage("fit"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimators.fit(estimator, dataset)
    report(*stage("judge"))
    predictor = Predictor(dataset.schema, estimator)
    judged = evaluate.ask(predictor, dataset.features[dataset.in_test], dataset.target[dataset.in_test])
    dummy = estimators.fit(estimators.baseline(dataset.schema.task), dataset)
    baseline = evaluate.ask(Predictor(dataset.schema, dummy), dataset.features[dataset.in_test], dataset.target[dataset.in_test])
    return Made(
        estimator=estimator,
        model=artifact.dump(estimator),
        predictor=predictor,
        dataset=dataset,
        judged=judged,
        baseline=baseline,
        name=planned.estimator,
        params={**planned.params, **(found or {})},
        found=found,
        metric=planned.metric,
        confidence=confidence or USUAL_CONFIDENCE,
        began=began,
        warnings=_told(caught),
    )


def save(
    made: Made,
    artifacts: ArtifactStore,
    name: str,
    version: int,
    job_id: str,
    folder: str,
    data: Data,
    origin: Origin = "trained",
) -> Card:
    """Write the version, read it back and hold it against the one in memory; nothing is published by it. ``folder``: see
    Inventory.begin. Raises OSError or NotWhatWasSaved."""
    card = Card(
        name=name,
        version=version,
        created_at=timestamp(),
        job_id=job_id,
        estimator=made.name,
        params=dict(made.params),
        schema=made.dataset.schema,
        data=data,
        metrics=evaluate.metrics(made.judged, made.metric, made.confidence),
        baseline_metrics=evaluate.metrics(made.baseline, made.metric, made.confidence),
        artifact=artifact.describe(folder, made.model),
        libraries=artifact.libraries(made.estimator),
        python=platform.python_version(),
        seconds=round(time.monotonic() - made.began, 3),
        search=made.found,
        probabilities=made.judged.table is not None,
        origin=origin,
        unknown=made.dataset.unknown,
    )
    from_json(card.to_json())  # whoever reads it can
    artifact.write(artifacts, card, made.model)
    _try_out(load(artifacts, card), made)
    return card


def _told(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """Each once; the estimator's user should know them."""
    texts = dict.fromkeys(f"{each.category.__name__}: {each.message}"[:MAX_WARNING] for each in caught)
    return tuple(texts)[:MAX_WARNINGS]


def data_of(dataset: Dataset, name: str, parts: tuple[str, ...]) -> Data:
    return Data(
        dataset=name,
        sha256=dataset.sha256,
        parts=parts,
        rows=len(dataset.target),
        training_rows=int((~dataset.in_test).sum()),
        test_share=dataset.test_share,
        weight=dataset.weight,
    )


def against_baseline(made: Made, card: Card) -> Comparison:
    interval = evaluate.improvement(made.metric, made.judged, made.baseline, made.confidence)
    return Comparison(None, card.metrics, card.baseline_metrics, interval)


def against(made: Made, champion: Card, artifacts: ArtifactStore, known: Callable[[], Table | None] = lambda: None) -> Comparison:
    """Both judged on the rows that neither was trained on: those that are for testing at the smaller of the two shares, of the
    challenger's data and of what ``known`` reads, the champion's data set. So labels that came wrong with the challenger's data
    cannot make it look better."""
    nothing = Comparison(champion.version, None, None, None)
    if not comparable(made.dataset, champion):
        return nothing
    try:
        bench = _bench(made.dataset, min(made.dataset.test_share, champion.data.test_share), known())
        theirs = bench.ask(load(artifacts, champion))
        ours = bench.ask(made.predictor)
        on_ours, on_theirs = (evaluate.metrics(each, made.metric, made.confidence) for each in (ours, theirs))
    except Exception:
        log.exception("%s version %d cannot be judged", champion.name, champion.version)
        return nothing
    interval = evaluate.improvement(made.metric, ours, theirs, made.confidence)
    on_known = None
    if bench.known.any() and not bench.known.all():
        ours, theirs = evaluate.among(ours, bench.known), evaluate.among(theirs, bench.known)
        on_known = evaluate.improvement(made.metric, ours, theirs, USUAL_CONFIDENCE)
    return Comparison(champion.version, on_ours, on_theirs, interval, on_known)


def comparable(dataset: Dataset, champion: Card) -> bool:
    """Of other columns the hashes are others: what is for testing here the champion may have been trained on."""
    ours, theirs = dataset.schema, champion.schema
    same = _columns(ours) == _columns(theirs) and ours.target == theirs.target and ours.task == theirs.task
    return same and champion.data.held_out and dataset.weight == champion.data.weight


@dataclass(frozen=True, slots=True)
class Bench:
    """The test rows, and which of them are of the champion's data set."""

    table: Table
    truth: NDArray[Any]
    known: NDArray[np.bool_]

    def ask(self, predictor: Predictor) -> Evaluation:
        return evaluate.ask(predictor, encode(self.table, predictor.schema), self.truth)


def _bench(dataset: Dataset, share: float, known: Table | None) -> Bench:
    """Each row of the challenger's data, and those of the champion's that are not among them. Raises BadTrainingData."""
    ours = dataset.table.rows(below(dataset.hashes, share))
    whole = row_hashes(ours, exact=True)
    if known is None:
        return Bench(ours, target_of(ours, dataset.schema), np.zeros(len(whole), dtype=np.bool_))
    target, weight = dataset.schema.target, dataset.weight
    if set(known.types) != set(dataset.table.types):
        raise BadTrainingData("the data set in service has other columns, and so other test rows")
    theirs = known.rows(below(row_hashes(known, without={target, weight}), share) & known.frame[target].notna().to_numpy())
    theirs_whole = row_hashes(theirs, exact=True)
    joined = concat([ours, theirs.rows(~np.isin(theirs_whole, whole))])
    added = len(joined.frame) - len(whole)
    mine = np.isin(whole, theirs_whole)
    return Bench(joined, target_of(joined, dataset.schema), np.append(mine, np.ones(added, dtype=np.bool_)))


def _columns(schema: Schema) -> set[str]:
    return {*schema.names, *schema.ignored}


def _try_out(loaded: Predictor, made: Made) -> None:
    features = made.dataset.features[made.dataset.in_test]
    said, wanted = loaded.labels(features), made.judged.labels
    same = np.allclose(said, wanted, rtol=1e-9) if said.dtype.kind == "f" else bool((said == wanted).all())
    if not same:
        raise NotWhatWasSaved("what was saved does not predict what was trained")
