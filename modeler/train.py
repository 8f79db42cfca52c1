"""A training: fit on the training rows, evaluate on the test rows, write the version, and compare it with the champion."""

import logging
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeler import artifact, estimators, evaluate, intervals, split, thresholds
from modeler.artifact import ArtifactStore
from modeler.cross_validation import beside_few
from modeler.dataset import Dataset, clusters, encode, target_of, weights_of
from modeler.dataset_parts import timestamp
from modeler.errors import BadTrainingData
from modeler.evaluate import DEFAULT_CONFIDENCE
from modeler.importance import importances
from modeler.measures import DEFAULT_PARAMS, Evaluation
from modeler.predictor import Predictor, load
from modeler.preprocessing import encodings
from modeler.search import search
from modeler.split import Split, like_before, like_hashes, numbered
from modeler.table import Table, concat
from models.card import Card, CrossValidation, Data, Importance, Origin, from_json
from models.gate import DEFAULT_METRIC, Comparison
from models.options import AUTO, CLASSIFICATION_METRICS, REGRESSION_METRICS, Metric, MetricParams, Threshold, TrainOptions
from models.schema import Schema

log = logging.getLogger("mldeploy.models")

Report = Callable[[int, int, str], None]  # done, total, stage

MAX_WARNINGS = 5
MAX_WARNING = 500  # characters

STAGES = ("read", "search", "fit", "judge", "save", "load")


def stage(name: str) -> tuple[int, int, str]:
    """Return a stage as the arguments of a Report."""
    return STAGES.index(name), len(STAGES), name


class SavedModelDiffers(RuntimeError):
    """The model that was read back from the store predicts other values than the one in memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train: as requested, or like the champion. ``search_seconds``: the budget of the search; 0 for none."""

    estimator: str
    params: Mapping[str, Any]
    search_seconds: float
    metric: Metric
    allowed: str = ""
    metric_params: MetricParams = DEFAULT_PARAMS
    threshold: Threshold | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A trained version, whose number and folder are not set yet. ``found``: the parameters that the search found."""

    estimator: Any
    model: bytes
    predictor: Predictor
    dataset: Dataset
    evaluation: Evaluation
    baseline: Evaluation
    name: str
    params: Mapping[str, Any]
    found: dict[str, Any] | None
    metric: Metric
    metric_params: MetricParams
    confidence: float
    began: float
    encodings: dict[str, str]
    warnings: tuple[str, ...] = ()
    importances: list[Importance] | None = None
    cross_validation: CrossValidation | None = None
    threshold: float | None = None
    threshold_chosen: bool = False


def plan(options: TrainOptions, champion: Card | None, dataset: Dataset, default: str = AUTO, allowed: str = "") -> Plan:
    """Plan a training. Raises BadTrainingData for a metric of another task."""
    inherits = champion is not None and champion.origin != "imported" and champion.schema.task == dataset.schema.task
    name = options.estimator or (champion.estimator if champion and inherits else default)
    params = dict(options.params)
    if champion and inherits and name == champion.estimator and not params:
        found = champion.search or {} if options.search else {}  # parameters that a search found are searched again
        params = {param: value for param, value in champion.params.items() if param not in found}
    task = dataset.schema.task
    metric = options.metric or (metric_of(champion) if champion and inherits else DEFAULT_METRIC[task])
    if metric not in (CLASSIFICATION_METRICS if task == "classification" else REGRESSION_METRICS):
        raise BadTrainingData(f"{metric} is no metric of a {task}")
    threshold = options.threshold or (threshold_of(champion) if champion and inherits else None)
    return Plan(
        estimators.resolve(name, dataset), params, options.search, metric, allowed, _metric_params(options, champion), threshold
    )


def metric_of(card: Card) -> Metric:
    """Return the metric that a version was evaluated by."""
    if card.metric:
        return card.metric
    return card.metrics.interval.metric if card.metrics.interval else DEFAULT_METRIC[card.schema.task]


def threshold_of(card: Card) -> Threshold | None:
    """Return the threshold that a version was trained with: auto if it was chosen."""
    return "auto" if card.threshold_chosen else card.threshold


def metric_params_of(card: Card) -> MetricParams:
    kept, default = card.metrics, MetricParams()
    return MetricParams(kept.beta or default.beta, kept.top_k or default.top_k, kept.quantile or default.quantile)


def _metric_params(options: TrainOptions, champion: Card | None) -> MetricParams:
    kept = metric_params_of(champion) if champion else MetricParams()
    return MetricParams(options.beta or kept.beta, options.top_k or kept.top_k, options.quantile or kept.quantile)


def make(dataset: Dataset, planned: Plan, confidence: float, report: Report) -> Made:
    """Search, fit and evaluate. Raises BadTrainingData, or whatever an estimator raises."""
    began = time.monotonic()
    estimator = estimators.build(planned.estimator, planned.params, dataset, planned.allowed)
    found = None
    if planned.search_seconds:
        found = search(
            estimator,
            planned.estimator,
            planned.params,
            dataset,
            planned.metric,
            planned.metric_params,
            planned.search_seconds,
            report,
        )
        estimator = estimators.build(planned.estimator, {**planned.params, **found}, dataset, planned.allowed)
    report(*stage("fit"))
    fit_began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimators.fit(estimator, dataset)
    fit_seconds = time.monotonic() - fit_began
    bare, threshold = estimator, None
    if planned.threshold:
        threshold = thresholds.find(planned.threshold, bare, dataset, planned.metric, planned.metric_params)
        estimator = thresholds.fixed(bare, threshold, dataset)
    report(*stage("judge"))
    predictor = Predictor(dataset.schema, estimator)
    dummy = estimators.fit(estimators.baseline(dataset.schema.task), dataset)
    evaluation, baseline = (
        evaluate.evaluate(
            each,
            dataset.features[dataset.in_test],
            dataset.target[dataset.in_test],
            dataset.test_weights,
            dataset.test_clusters,
            planned.metric_params,
        )
        for each in (predictor, Predictor(dataset.schema, dummy))
    )
    return Made(
        estimator=estimator,
        model=artifact.dump(estimator),
        predictor=predictor,
        dataset=dataset,
        evaluation=evaluation,
        baseline=baseline,
        name=planned.estimator,
        params={**planned.params, **(found or {})},
        found=found,
        metric=planned.metric,
        metric_params=planned.metric_params,
        confidence=confidence or DEFAULT_CONFIDENCE,
        began=began,
        encodings=encodings(estimators.bare(bare), dataset),
        importances=importances(estimator, dataset, planned.metric, planned.metric_params),
        cross_validation=beside_few(bare, dataset, planned.metric, planned.metric_params, fit_seconds, threshold),
        threshold=threshold,
        threshold_chosen=planned.threshold == "auto",
        warnings=_warning_texts(caught),
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
    challengers: int = 0,
) -> Card:
    """Write the version to ``folder`` (see Inventory.begin), read it back and compare its predictions with the one in memory. It
    is not published. Raises OSError or SavedModelDiffers."""
    card = Card(
        name=name,
        version=version,
        created_at=timestamp(),
        job_id=job_id,
        estimator=made.name,
        params=dict(made.params),
        schema=made.dataset.schema,
        data=data,
        metrics=evaluate.metrics(made.evaluation, made.metric, made.confidence),
        baseline_metrics=evaluate.metrics(made.baseline, made.metric, made.confidence),
        artifact=artifact.describe(folder, made.model),
        libraries=artifact.libraries(made.estimator),
        python=platform.python_version(),
        seconds=round(time.monotonic() - made.began, 3),
        search=made.found,
        probabilities=made.evaluation.table is not None,
        origin=origin,
        unknown=made.dataset.unknown,
        encodings=made.encodings,
        metric=made.metric,
        challengers=challengers,
        importances=made.importances,
        cross_validation=made.cross_validation,
        threshold=made.threshold,
        threshold_chosen=made.threshold_chosen,
    )
    from_json(card.to_json())  # the card can be decoded
    artifact.write(artifacts, card, made.model)
    _verify_saved(load(artifacts, card), made)
    return card


def _warning_texts(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """Return each warning once, for the user of the estimator."""
    texts = dict.fromkeys(f"{each.category.__name__}: {each.message}"[:MAX_WARNING] for each in caught)
    return tuple(texts)[:MAX_WARNINGS]


def data_of(dataset: Dataset, name: str, parts: tuple[str, ...]) -> Data:
    return Data(
        dataset=name,
        sha256=dataset.sha256,
        parts=parts,
        rows=len(dataset.target),
        training_rows=int((~dataset.in_test).sum()),
        test_share=dataset.split.share,
        weight=dataset.weight,
        split=dataset.split.version,
        group=dataset.split.group,
        time=dataset.split.time,
        trained_until=dataset.split.until,
        test_rows_like_training_rows=dataset.test_rows_like_training_rows,
    )


def compare_with_baseline(made: Made, card: Card) -> Comparison:
    """Any number of versions may try to beat the baseline: it is no champion that luck could replace."""
    interval = intervals.improvement(made.metric, made.evaluation, made.baseline, made.confidence)
    return Comparison(None, card.metrics, card.baseline_metrics, interval)


def compare_with_champion(
    made: Made,
    champion: Card,
    artifacts: ArtifactStore,
    known: Callable[[], Table | None] = lambda: None,
    challengers: int = 1,
    required: float = 0.0,
) -> Comparison:
    """Evaluate both models on rows that neither was trained on: the rows of the challenger's data and of the champion's data set,
    which ``known`` reads, that are test rows by the splits of both. So wrong labels in the challenger's data cannot make it look
    better. ``challengers`` and ``required``, the confidence that is required of so many: see models.gate."""
    nothing = Comparison(champion.version, None, None, None)
    if not comparable(made.dataset, champion):
        return nothing
    try:
        test_rows = _comparison_rows(made.dataset, split.of(champion.data), known())
        theirs = test_rows.evaluate(load(artifacts, champion), made.metric_params)
        ours = test_rows.evaluate(made.predictor, made.metric_params)
        on_ours, on_theirs = (evaluate.metrics(each, made.metric, made.confidence) for each in (ours, theirs))
    except Exception:
        log.exception("%s version %d cannot be evaluated", champion.name, champion.version)
        return nothing
    interval = intervals.improvement(made.metric, ours, theirs, made.confidence)
    bound = intervals.improvement(made.metric, ours, theirs, required) if required not in (0.0, made.confidence) else None
    on_known = None
    if test_rows.known.any() and not test_rows.known.all():
        ours, theirs = evaluate.subset(ours, test_rows.known), evaluate.subset(theirs, test_rows.known)
        on_known = intervals.improvement(made.metric, ours, theirs, DEFAULT_CONFIDENCE)
    return Comparison(champion.version, on_ours, on_theirs, interval, on_known, challengers, bound)


def comparable(dataset: Dataset, champion: Card) -> bool:
    """Whether the models can be compared: with other columns the hashes differ, so the champion may have been trained on
    the test rows."""
    ours, theirs = dataset.schema, champion.schema
    same = _columns(ours) == _columns(theirs) and ours.target == theirs.target and ours.task == theirs.task
    return same and champion.data.held_out and dataset.weight == champion.data.weight


@dataclass(frozen=True, slots=True)
class ComparisonRows:
    """The rows of a comparison, their true labels, weights and clusters (see Evaluation), and which of them are in the champion's
    data set."""

    table: Table
    truth: NDArray[Any]
    weights: NDArray[np.float64] | None
    clusters: NDArray[np.uint64] | None
    known: NDArray[np.bool_]

    def evaluate(self, predictor: Predictor, params: MetricParams) -> Evaluation:
        features = encode(self.table, predictor.schema)
        return evaluate.evaluate(predictor, features, self.truth, self.weights, self.clusters, params)


def _comparison_rows(dataset: Dataset, champions: Split, known: Table | None) -> ComparisonRows:
    """Join the test rows of the challenger's data with those that only the champion's has: of like rows there are as many as in
    the one that has more. Raises BadTrainingData."""
    ours, numbers = _of_neither(dataset.table, dataset, champions)
    if known is None:
        return _rows_to_compare(ours, dataset, np.zeros(len(numbers), dtype=np.bool_))
    if set(known.types) != set(dataset.table.types):
        raise BadTrainingData("the data set in service has other columns, and so other test rows")
    known = known.rows(known.frame[dataset.schema.target].notna().to_numpy())
    theirs, their_numbers = _of_neither(known, dataset, champions)
    joined = concat([ours, theirs.rows(~np.isin(their_numbers, numbers))])
    added = len(joined.frame) - len(numbers)
    mine = np.isin(numbers, their_numbers)
    return _rows_to_compare(joined, dataset, np.append(mine, np.ones(added, dtype=np.bool_)))


def _rows_to_compare(table: Table, dataset: Dataset, known: NDArray[np.bool_]) -> ComparisonRows:
    alike = clusters(table, encode(table, dataset.schema), dataset.split.group)
    return ComparisonRows(table, target_of(table, dataset.schema), weights_of(table, dataset.weight), alike, known)


def _of_neither(table: Table, dataset: Dataset, champions: Split) -> tuple[Table, NDArray[np.uint64]]:
    """Return the rows that neither model was trained on, and a hash of each with its number among like rows."""
    which = dataset.split.held_out(table, dataset.labels) & champions.held_out(table, dataset.labels)
    hashes = numbered(like_hashes(table, dataset.labels), like_before(table, dataset.labels))
    return table.rows(which), hashes[which]


def _columns(schema: Schema) -> set[str]:
    return {*schema.names, *schema.ignored}


def _verify_saved(loaded: Predictor, made: Made) -> None:
    features = made.dataset.features[made.dataset.in_test]
    predicted, expected = loaded.labels(features), made.evaluation.labels
    same = np.allclose(predicted, expected, rtol=1e-9) if predicted.dtype.kind == "f" else bool((predicted == expected).all())
    if not same:
        raise SavedModelDiffers("what was saved does not predict what was trained")
