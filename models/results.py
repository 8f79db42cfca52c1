"""The results of jobs on models and data sets. The worker writes them; OpenAPI describes them."""

from msgspec import Struct

from models.card import Metrics
from models.feature import Unknown, Value
from models.gate import Improvement
from models.options import PredictOptions
from models.reading import ColumnReport
from models.schema import Schema

Label = str | int | float | bool

TRAINING_BYTES = 300_000  # reserved for the result and the card of a training; a larger one needs the room when it ends
MAX_ESCAPE = 6  # bytes of a character in JSON
ADDITION_BYTES = 100_000  # of the result and the record of a data set


class Prediction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``probabilities`` by class, if they were requested."""

    prediction: Label
    probabilities: dict[str, float] | None = None


class SinglePrediction(Prediction, frozen=True, kw_only=True, omit_defaults=True):
    """Of one measurement; ``input`` is what the model received."""

    input: dict[str, Value]


class Predictions(Struct, frozen=True):
    """Of an array of measurements, in its order."""

    predictions: list[Prediction]


def max_result_bytes(schema: Schema, rows: int, options: PredictOptions, sent: int) -> int:
    """Return the largest size in bytes, as JSON, of a prediction's result for so many rows, which have ``sent`` bytes packed."""
    size = schema.result_size
    row = len('{"prediction":},') + size.label
    if options.proba:
        row += len('"probabilities":{},') + size.probabilities
    texts = sent * MAX_ESCAPE if schema.is_raw else 0
    return rows * row + (len('"input":{},') + size.input + texts if options.single else len('{"predictions":[]}'))


class TrainedModel(Struct, frozen=True):
    name: str
    version: int


class TrainedOn(Struct, frozen=True):
    """``sha256`` is of all rows, whatever their order."""

    name: str
    rows: int
    training_rows: int
    sha256: str


class TrainResult(Struct, frozen=True):
    """A training's result: what was made, its metrics, and whether it serves now, and why. ``champion_metrics`` are of the
    version that was in service, on the same rows as ``metrics``. ``unknown``: what becomes of a category that no training row
    had. ``columns``: what was understood of the columns of a table that was sent, the first hundred of them."""

    model: TrainedModel
    metrics: Metrics
    champion_metrics: Metrics | None
    baseline_metrics: Metrics | None
    improvement: Improvement | None
    promoted: bool
    reason: str
    dataset: TrainedOn
    estimator: str
    warnings: list[str]
    unknown: Unknown = "refuse"
    columns: list[ColumnReport] = []


class Added(Struct, frozen=True):
    """What became of the rows that were sent: each is in one of ``added``, ``replaced`` (a stored row of the same key),
    ``unchanged`` (by its key it was there already) and ``duplicates`` (left out). ``same_file``: this very table was added
    before. ``revision`` counts the changes of the data set."""

    dataset: str
    added: int
    duplicates: int
    rows: int
    revision: int
    replaced: int = 0
    unchanged: int = 0
    same_file: bool = False
    warnings: list[str] = []
