"""A training set: read from CSV, checked, and split so that a test row stays a test row."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.schema import LONGEST_NAME, Feature, Schema

MOST_FEATURES = 1000
MOST_CLASSES = 1000
FEWEST_ROWS = 10
TEST_SHARE = 5  # one row in five


class BadTrainingData(ValueError):
    """The training set cannot be used; the message says why and what it takes."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """``features`` is (rows, features) of float64, ``labels`` (rows,), ``in_test`` (rows,) of bool."""

    csv: bytes
    schema: Schema
    features: NDArray[np.float64]
    labels: NDArray[Any]
    in_test: NDArray[np.bool_]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.csv).hexdigest()


def read(csv: bytes, target: str = "") -> Dataset:
    """Raises BadTrainingData. ``target`` defaults to the last column."""
    frame = _parse(csv)
    target = target or str(frame.columns[-1])
    if any(len(str(name)) > LONGEST_NAME for name in frame.columns):
        raise BadTrainingData(f"a column's name is longer than {LONGEST_NAME} characters")
    if target not in frame.columns:
        raise BadTrainingData(f"there is no column {target!r} to predict; the columns are {_listed(frame.columns)}")
    labels = _labels(frame[target])
    features = _features(frame.drop(columns=target))
    dataset = Dataset(
        csv=csv,
        schema=_schema(features, target, labels),
        features=features.to_numpy(dtype=np.float64),
        labels=labels,
        in_test=_in_test(features, labels),
    )
    if len(np.unique(labels[~dataset.in_test])) < 2:
        raise BadTrainingData(f"fewer than two classes of {target!r} are left to train on")
    if not dataset.in_test.any():
        raise BadTrainingData("no row is left to test on: send more rows")
    return dataset


def _parse(csv: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_csv(BytesIO(csv), encoding="utf-8")
    except UnicodeDecodeError:
        raise BadTrainingData("the CSV is not UTF-8") from None
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadTrainingData(f"the CSV cannot be read: {error}") from None
    if len(frame.columns) < 2 or len(frame.columns) > MOST_FEATURES + 1:
        raise BadTrainingData(f"{len(frame.columns)} columns; it takes a target and 1 to {MOST_FEATURES} features")
    if len(frame) < FEWEST_ROWS:
        raise BadTrainingData(f"{len(frame)} rows; it takes at least {FEWEST_ROWS}")
    return frame


def _labels(column: pd.Series) -> NDArray[Any]:
    if column.isna().any():
        raise BadTrainingData(f"the column to predict, {column.name!r}, has missing values")
    if pd.api.types.is_float_dtype(column):
        raise BadTrainingData(
            f"{column.name!r} holds fractions; only classes (text, integers, booleans) can be predicted. "
            "Give target=… if another column is meant: by default it is the last one"
        )
    if column.nunique() > MOST_CLASSES:
        raise BadTrainingData(f"{column.name!r} has {column.nunique()} classes; at most {MOST_CLASSES}")
    if column.map(lambda label: len(str(label))).max() > LONGEST_NAME:
        raise BadTrainingData(f"a class of {column.name!r} is longer than {LONGEST_NAME} characters")
    simple = pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column)
    return column.to_numpy() if simple else column.astype(str).to_numpy(dtype=object)


def _features(frame: pd.DataFrame) -> pd.DataFrame:
    for name, column in frame.items():
        if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
            raise BadTrainingData(f"column {name!r} is not numeric; only numbers can be features")
        if not np.isfinite(column.to_numpy(dtype=np.float64)).all():
            raise BadTrainingData(f"column {name!r} has missing or infinite values")
    return frame


def _schema(features: pd.DataFrame, target: str, labels: NDArray[Any]) -> Schema:
    described = tuple(
        Feature(str(name), "number", float(column.min()), float(column.max()), float(column.iloc[0]))
        for name, column in features.items()
    )
    return Schema(described, target, tuple(np.unique(labels).tolist()))


def _in_test(features: pd.DataFrame, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """By a hash of the row's content alone: whatever the order of rows and columns, whatever else the data hold, and whether
    a number is written 5 or 5.0, a test row stays a test row."""
    canonical = features[sorted(features.columns)].astype(np.float64) + 0.0  # -0.0 and 0.0 are one number
    canonical["label"] = [str(label) for label in labels]
    hashes = pd.util.hash_pandas_object(canonical, index=False).to_numpy()
    return np.asarray(hashes % TEST_SHARE == 0)


def _listed(columns: pd.Index) -> str:
    return ", ".join(map(str, columns[:12])) + (" …" if len(columns) > 12 else "")
