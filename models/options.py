"""What a training and a prediction may be asked for. The same definition checks JSON and query strings."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

ModelName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", description="a name of at most 64 lower-case letters, digits, - and _")
]

Estimator = Literal[
    "DecisionTreeClassifier",
    "GaussianNB",
    "KNeighborsClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
]

DEFAULT_ESTIMATOR: Estimator = "DecisionTreeClassifier"

Promote = Literal["if_better", "always", "never"]


class TrainOptions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``target`` names the column to predict; empty: the model's own, or else the last column. ``estimator``: by default the
    champion's, or else DEFAULT_ESTIMATOR."""

    model: ModelName = ""
    target: Annotated[str, Meta(max_length=200, description="the name of a column")] = ""
    estimator: Estimator | None = None
    promote: Promote = "if_better"


class PredictOptions(Struct, frozen=True):
    """Carried with a prediction's job to the worker. ``single``: one measurement, whose input is given back."""

    single: bool = False
    proba: bool = False
