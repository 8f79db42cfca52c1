"""A version's card: its schema, how it was trained, its metrics, and the hash of its file."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from models.feature import Unknown
from models.options import Metric
from models.schema import Schema

CHAMPION = "champion"

Takes = Literal["matrix", "frame", "series"]
Origin = Literal["trained", "imported", "refit"]

FEATURES_ALONE, NUMBERED = 1, 2  # how the test rows of a version were chosen; see Data


class Interval(Struct, frozen=True):
    """Of a metric or of an improvement."""

    metric: Metric
    low: float
    high: float
    confidence: float


class ClassMetrics(Struct, frozen=True):
    """Of one class, on ``rows`` test rows of it. ``precision`` is null if it was never predicted, ``recall`` if it has no row."""

    label: str | int | float | bool
    precision: float | None
    recall: float | None
    rows: int


class Importance(Struct, frozen=True):
    """By how much the metric becomes worse if the feature's values are shuffled among the test rows: the mean of repeated
    shuffles, and its interval at 0.95."""

    feature: str
    value: float
    low: float
    high: float


class CrossValidation(Struct, frozen=True):
    """The mean of a metric over so many ``folds`` of the training ``rows``, each scored by a model fitted on the others."""

    metric: Metric
    value: float
    low: float
    high: float
    confidence: float
    folds: int
    rows: int


class Metrics(Struct, frozen=True, omit_defaults=True):
    """Computed on ``rows`` test rows, by scikit-learn's names and with the rows' weights. ``confusion_matrix`` counts rows; it
    has a row per true and a column per predicted class, in the order of ``classes``.
    ``f_beta`` and ``average_precision`` are of the
    second class of two, and of more classes the mean. ``beta``, ``top_k`` and ``quantile``: see TrainOptions. What cannot be
    computed for an estimator is left out."""

    rows: int
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    f1_macro: float | None = None
    log_loss: float | None = None
    roc_auc: float | None = None
    confusion_matrix: list[list[int]] | None = None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    interval: Interval | None = None
    f_beta: float | None = None
    brier: float | None = None
    average_precision: float | None = None
    top_k_accuracy: float | None = None
    mape: float | None = None
    median_absolute_error: float | None = None
    pinball: float | None = None
    classes: list[ClassMetrics] | None = None
    beta: float | None = None
    top_k: int | None = None
    quantile: float | None = None

    def value(self, metric: Metric) -> float | None:
        found: float | None = getattr(self, metric)
        return found


class Data(Struct, frozen=True, omit_defaults=True):
    """What a version was made from. ``sha256`` is of its rows, ``parts`` the files in the store that hold them.

    A row is a test row if a hash is below ``test_share``: with ``split`` 2 that of its features and of the number of like rows
    before it, with 1 (versions made before there was a 2) that of its features alone, and with a ``group`` that of the group's
    value. With a ``time`` the rows later than ``trained_until`` are (seconds since 1970, or the column's number). ``held_out``:
    no version of this model was trained on a test row; ``fitted_on_test_rows``: null if it is not known, as for an imported
    model. ``test_rows_like_training_rows``: how many test rows have the features of some training row."""

    dataset: str
    sha256: str
    parts: tuple[str, ...]
    rows: int
    training_rows: int
    test_share: float
    weight: str = ""
    held_out: bool = True
    fitted_on_test_rows: bool | None = False
    split: int = FEATURES_ALONE
    group: str = ""
    time: str = ""
    trained_until: float | None = None
    test_rows_like_training_rows: int | None = None


class Artifact(Struct, frozen=True):
    """``folder`` is relative to the store; ``sha256`` is of the model's file, checked before it is unpickled."""

    folder: str
    sha256: str
    bytes: int


class Card(Struct, frozen=True, omit_defaults=True):
    """``takes``: a matrix of numbers, or (an imported model) a data frame with the columns as they came, or its only column.
    ``encodings``: how the categories of each column reach the estimator. ``libraries``: the versions it was made with;
    ``seconds`` is how long that took. ``metric`` is what it was judged by; ``challengers`` how many versions, with this one, have
    been compared with champions on these test rows since they were new. ``importances``: of the features, the most important
    first. ``cross_validation``: beside few test rows. ``threshold``: the probability from which on the second of two classes is
    predicted, if it was set, or ``threshold_chosen`` by cross-validation."""

    name: str
    version: int
    created_at: str
    job_id: str
    estimator: str
    params: dict[str, Any]
    schema: Schema
    data: Data
    metrics: Metrics
    artifact: Artifact
    libraries: dict[str, str]
    python: str
    seconds: float
    baseline_metrics: Metrics | None = None
    search: dict[str, Any] | None = None
    probabilities: bool = True
    takes: Takes = "matrix"
    unknown: Unknown = "refuse"
    encodings: dict[str, str] = {}
    origin: Origin = "trained"
    format: Literal[2] = 2
    metric: Metric | None = None
    challengers: int = 0
    importances: list[Importance] | None = None
    cross_validation: CrossValidation | None = None
    threshold: float | None = None
    threshold_chosen: bool = False

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


def from_json(text: bytes | str) -> Card:
    return msgspec.json.decode(text, type=Card)
