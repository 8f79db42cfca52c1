"""What an exported model needs beside scikit-learn and pandas: it travels in the archive, as mldeploy_model.py.

``load()`` or ``joblib.load("pipeline.joblib")`` gives a scikit-learn pipeline that takes a data frame with the columns of the
training table, and predicts what the service does.
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

MODULE = "mldeploy_model"  # by this name pickles look for the classes
PIPELINE = "pipeline.joblib"
UNKNOWN = -1.0
BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def load(folder: str | Path = Path(__file__).parent) -> Any:
    """Return the pipeline of an unpacked archive."""
    return joblib.load(Path(folder) / PIPELINE)


class FrameEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Encodes a data frame as the numbers that the model was trained on. ``features``: of each its name, type, categories and
    whether an unknown category is ignored, in the order of the model's."""

    __module__ = MODULE

    def __init__(self, features: list[dict[str, Any]]) -> None:
        self.features = features

    def fit(self, frame: Any, target: Any = None) -> Self:  # noqa: ARG002 - required by scikit-learn
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (rows, features). Raises ValueError for a column that is not there and for a value that does not fit."""
        frame = frame.rename(columns=str)
        missing = [each["name"] for each in self.features if each["name"] not in frame.columns]
        if missing:
            raise ValueError(f"the frame has no column {', '.join(missing)}")
        columns = [self._encoded(frame[each["name"]], each) for each in self.features]
        if not any(each["type"] == "text" for each in self.features):
            return np.column_stack(columns)
        return np.column_stack([column.astype(object) for column in columns])

    def _encoded(self, column: Any, feature: dict[str, Any]) -> NDArray[Any]:
        encode = {"category": _category, "date": _seconds, "boolean": _boolean}.get(feature["type"], _number)
        codes = {category: float(place) for place, category in enumerate(feature.get("categories", ()))}
        refuses = feature.get("unknown") == "refuse"
        values = column.astype(object).tolist()
        if feature["type"] == "text":
            return np.array(["" if pd.isna(each) else str(each) for each in values], dtype=object)
        try:
            return np.array([np.nan if pd.isna(each) else encode(each, codes, refuses) for each in values], dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"column {feature['name']!r}: {error}") from None


class LabelEncodedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives the classes of an estimator that numbers them from 0."""

    __module__ = MODULE

    def __init__(self, estimator: Any, classes: Any) -> None:
        self.estimator = estimator
        self.classes = classes
        self.classes_ = classes

    def fit(self, features: Any, target: Any) -> Self:
        self.classes_, places = np.unique(target, return_inverse=True)
        self.estimator.fit(features, places)
        return self

    def predict(self, features: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.classes_[np.asarray(self.estimator.predict(features)).ravel().astype(np.int64)]
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "estimator" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.estimator, name)


def _number(value: Any, codes: dict[str, float], refuses: bool) -> float:  # noqa: ARG001 - called alike
    return float(value)


def _boolean(value: Any, codes: dict[str, float], refuses: bool) -> float:  # noqa: ARG001 - called alike
    return BOOLEANS[value.lower()] if isinstance(value, str) and value.lower() in BOOLEANS else float(bool(value))


def _category(value: Any, codes: dict[str, float], refuses: bool) -> float:
    whole = isinstance(value, float) and value.is_integer()
    text = value if isinstance(value, str) else str(int(value)) if whole else str(value)
    if refuses and text not in codes:
        raise ValueError(f"{text!r} is no category that the model knows")
    return codes.get(text, UNKNOWN)


def _seconds(value: Any, codes: dict[str, float], refuses: bool) -> float:  # noqa: ARG001 - called alike
    """Return seconds since 1970, in UTC by default."""
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    else:
        moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
