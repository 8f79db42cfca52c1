"""What a training may be asked for. The same definition checks JSON and query strings."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

ModelName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)", description="lower case, digits, - and _")]

Estimator = Literal[
    "DecisionTreeClassifier",
    "GaussianNB",
    "KNeighborsClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
]

Promote = Literal["if_better", "always", "never"]


class TrainOptions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``target`` names the column to predict; empty: the model's own, or else the last column."""

    model: ModelName = ""
    target: Annotated[str, Meta(max_length=200)] = ""
    estimator: Estimator = "DecisionTreeClassifier"
    promote: Promote = "if_better"
