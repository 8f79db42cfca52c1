"""The options of a training, a prediction and an addition to a data set. The same definitions validate JSON and query strings,
and are sent with the job to the worker."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from models.feature import Unknown
from models.reading import AS_IT_COMES, ReadOptions
from models.schema import Task

ModelName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", description="a name of at most 64 lower-case letters, digits, - and _")
]
DatasetName = ModelName
VersionName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", description="a number or an alias such as champion")
]
ColumnName = Annotated[str, Meta(max_length=200, description="the name of a column")]
EstimatorName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,99}$(?!\n)", description="the name of an estimator's class, or auto")
]
Text = Annotated[str, Meta(max_length=200)]
Scalar = bool | int | float | Text | None
Scalars = Annotated[list[Scalar], Meta(max_length=100)]
InnerParams = Annotated[dict[Text, Scalar | Scalars], Meta(max_length=100)]
Parts = Annotated[  # weights by class, or an estimator
    dict[Text, Scalar | InnerParams],
    Meta(max_length=1000, description='such as {"class": "DecisionTreeClassifier", "params": {}}'),
]
ParamValue = Scalar | Scalars | Parts

Format = Literal["csv", "parquet", "ndjson"]
Promote = Literal["if_better", "always", "never"]
Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f_beta",
    "log_loss",
    "brier",
    "roc_auc",
    "average_precision",
    "top_k_accuracy",
    "mae",
    "rmse",
    "r2",
    "mape",
    "median_absolute_error",
    "pinball",
]

REGRESSION_METRICS: tuple[Metric, ...] = ("mae", "rmse", "r2", "mape", "median_absolute_error", "pinball")
CLASSIFICATION_METRICS: tuple[Metric, ...] = tuple(each for each in get_args(Metric) if each not in REGRESSION_METRICS)
LOWER_IS_BETTER: tuple[Metric, ...] = (
    "log_loss",
    "brier",
    "mae",
    "rmse",
    "mape",
    "median_absolute_error",
    "pinball",
)

AUTO = "auto"
TEST_SHARE = 0.2


Threshold = Literal["auto"] | Annotated[float, Meta(gt=0, lt=1, description="auto, or a number between 0 and 1")]


class MetricParams(Struct, frozen=True):
    """``beta`` of f_beta: recall counts so many times as much as precision; ``top_k`` of top_k_accuracy: a row counts if its
    class is among the so many most likely; ``quantile`` of pinball."""

    beta: float = 1.0
    top_k: int = 3
    quantile: float = 0.5


class TrainOptions(ReadOptions, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``dataset``: train on the rows of this one; by default on the model's own. ``target`` names the column to predict, by
    default the model's own or else the last one; ``weight`` a column of sample weights. ``task``, ``estimator``, ``unknown`` and
    ``metric`` are by default the champion's; a first ``task`` is inferred from the target. ``search``: seconds to look for better
    parameters in. ``metric``: what the gate compares; a challenger must be better by more than ``min_improvement``, and with a
    ``confidence`` (such as 0.95) the whole bootstrap interval of the improvement must be. ``test_share`` is fixed with a data
    set's first training. ``group``: a column whose rows of one value are all for testing or all for training; ``time``: a column
    by which the latest rows are for testing; by default the champion's. ``beta``, ``top_k`` and ``quantile``: parameters of the
    metrics f_beta, top_k_accuracy and pinball (see MetricParams); by default the champion's. ``threshold``: the probability from
    which on the second of two classes is predicted, or ``auto``: the one with the best metric by cross-validation on the training
    rows; by default the champion's."""

    model: ModelName = ""
    dataset: DatasetName = ""
    target: ColumnName = ""
    weight: ColumnName = ""
    task: Task | None = None
    estimator: EstimatorName = ""
    params: Annotated[dict[Text, ParamValue], Meta(max_length=100)] = {}  # noqa: RUF012 - msgspec copies it
    search: Annotated[float, Meta(ge=0, le=86_400, description="seconds from 0 to 86400")] = 0.0
    unknown: Unknown | None = None
    promote: Promote = "if_better"
    metric: Metric | None = None
    min_improvement: Annotated[float, Meta(ge=0, le=1e12, description="a number from 0")] = 0.0
    confidence: Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")] = 0.0
    test_share: Annotated[float, Meta(ge=0.05, le=0.5, description="a number from 0.05 to 0.5")] | None = None
    group: ColumnName = ""
    time: ColumnName = ""
    beta: Annotated[float, Meta(ge=0.01, le=100, description="a number from 0.01 to 100")] | None = None
    top_k: Annotated[int, Meta(ge=1, le=100, description="a number from 1 to 100")] | None = None
    quantile: Annotated[float, Meta(gt=0, lt=1, description="a number between 0 and 1")] | None = None
    threshold: Threshold | None = None


class TrainTask(Struct, frozen=True, omit_defaults=True, tag="train"):
    """A training as the worker gets it. ``format`` is that of the payload; none: there is no payload. ``caller``: whose data sets
    it is about; ``dataset``: the name under which the requested one is stored. ``by_default``: the model was not named."""

    options: TrainOptions
    format: Format | None = None
    caller: str = ""
    dataset: str = ""
    by_default: bool = False


class AddTask(Struct, frozen=True, omit_defaults=True, tag="add"):
    """Rows to be added to a data set; ``dataset`` is its name in the store of names (see models.datasets.scoped). ``key``: the
    columns by which its rows are unique from now on. ``dedupe``: leave out rows that are like stored ones. ``again``: add the
    table even if it was added before. ``reading``: how it is read. ``look``: only report
    what was understood."""

    dataset: str
    format: Format
    key: tuple[str, ...] = ()
    dedupe: bool = False
    again: bool = False
    reading: ReadOptions = AS_IT_COMES
    look: bool = False


class PredictOptions(Struct, frozen=True):
    """Carried with a prediction's job to the worker. ``single``: one measurement, whose input is returned with the result."""

    single: bool = False
    proba: bool = False
