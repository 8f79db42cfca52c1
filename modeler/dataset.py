"""A table prepared for a training: the feature matrix of the schema, the target, the weights, and the test rows."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modeler.errors import BadTrainingData
from modeler.split import Split, digest, group_hashes, hash_rows, row_hashes
from modeler.table import Table
from modeler.text_columns import texts_of
from models.feature import MAX_NAME, TEXTS, Feature, FeatureType, Unknown, date_text
from models.input_errors import listed
from models.schema import Schema, Task

MAX_CLASSES = 1000
MAX_SCHEMA = 1_000_000  # bytes; it is in every card
MAX_INTEGER_CLASS = 2**53  # beyond it a float cannot hold every integer
MAX_CATEGORIES = 10_000  # of a feature; the less frequent ones count as unknown
MAX_REFUSING = 255  # categories of a feature that may refuse others; one with more ignores them
UNIQUE = 0.9  # share of different values from which on texts are names or ids, which say nothing about other rows
MIN_ROWS = 10
FEW_INTEGERS = 20  # a target with at most so many distinct integers has classes, one with more is a quantity
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


@dataclass(frozen=True, slots=True)
class Dataset:
    """``features`` is (rows, features) of float64, or of objects if there are features of type text; ``target`` (rows,),
    ``in_test`` (rows,) of bool, by ``split``, ``weights`` (rows,) or None. ``sha256`` is of all rows."""

    table: Table
    schema: Schema
    features: NDArray[Any]
    target: NDArray[Any]
    in_test: NDArray[np.bool_]
    weights: NDArray[np.float64] | None
    split: Split
    weight: str
    unknown: Unknown = "refuse"

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that are no features: the target, and that of the weights if there is one."""
        return (self.schema.target, self.weight) if self.weight else (self.schema.target,)

    @property
    def sha256(self) -> str:
        return digest(row_hashes(self.table, exact=True))

    @property
    def test_weights(self) -> NDArray[np.float64] | None:
        return None if self.weights is None else self.weights[self.in_test]

    @property
    def test_clusters(self) -> NDArray[np.uint64] | None:
        """The groups of the test rows, or else hashes of their features; None if all differ."""
        return clusters(self.table.rows(self.in_test), self.features[self.in_test], self.split.group)

    @property
    def test_rows_like_training_rows(self) -> int:
        """How many test rows have the features of some training row, as the model sees them."""
        hashes = hash_rows(self.features)
        return int(np.isin(hashes[self.in_test], hashes[~self.in_test]).sum())


def make(
    table: Table,
    target: str = "",
    weight: str = "",
    task: Task | None = None,
    unknown: Unknown = "refuse",
    test_share: float = 0.2,
    group: str = "",
    time: str = "",
    ignore: Collection[str] = (),
    only: Schema | None = None,
    split: Split | None = None,
) -> Dataset:
    """Prepare a table. ``target`` defaults to the last column; ``ignore``: columns that are no features; ``only``: use this
    schema unchanged; ``split``: use this one unchanged, instead of one by ``test_share``, ``group`` and ``time``. Raises
    BadTrainingData."""
    target = target or list(table.types)[-1]
    split = split or _split(test_share, group, time, {target, weight})
    for name, role in ((target, "to predict"), (weight, "of weights"), (split.group, "of groups"), (split.time, "of time")):
        if name and name not in table.types:
            raise BadTrainingData(f"there is no column {name!r} {role}; the columns are {listed(list(table.types))}")
    if len(table.frame) < MIN_ROWS:
        raise BadTrainingData(f"{len(table.frame)} rows; it takes at least {MIN_ROWS}")
    found_task = task or _likely_task(table, target)
    values = _target(table, target, found_task)
    schema = only or _schema(table, target, weight, found_task, values, unknown, {split.group, *ignore})
    split = split if split.until is not None else split.fixed(table)
    labels = (target, weight) if weight else (target,)
    dataset = Dataset(
        table=table,
        schema=schema,
        features=encode(table, schema),
        target=values,
        in_test=split.held_out(table, labels),
        weights=weights_of(table, weight),
        split=split,
        weight=weight,
        unknown=unknown,
    )
    _refuse_unusable(dataset)
    return dataset


def clusters(table: Table, features: NDArray[Any], group: str) -> NDArray[np.uint64] | None:
    """Return for each row the cluster of rows that are no evidence independent of it: its group, or else the rows with the same
    features. None if each row is a cluster of its own."""
    hashes = group_hashes(table, group) if group else hash_rows(features)
    return hashes if len(np.unique(hashes)) < len(hashes) else None


def _split(share: float, group: str, time: str, labels: set[str]) -> Split:
    """Raises BadTrainingData."""
    if group and time:
        raise BadTrainingData("test rows are chosen by group= or by time=, not by both")
    for name, role in ((group, "group"), (time, "time")):
        if name and name in labels:
            raise BadTrainingData(f"{name!r} cannot be the {role} as well as the target or the weight")
    return Split(share, group, time)


def encode(table: Table, schema: Schema) -> NDArray[Any]:
    """Return the feature matrix, (rows, features), that an estimator of this schema gets. Raises BadTrainingData if columns are
    missing or have other types."""
    missing = [name for name in schema.names if name not in table.types]
    if missing:
        raise BadTrainingData(f"there is no column {listed(missing)}")
    return np.column_stack([_encoded(table, feature) for feature in schema.features])


def _encoded(table: Table, feature: Feature) -> NDArray[Any]:
    column, type_ = table.frame[feature.name], table.types[feature.name]
    if feature.type != type_ and "date" in (feature.type, type_):  # numbers may be moments in another unit
        raise BadTrainingData(f"column {feature.name!r} is of type {type_}, and the model takes {feature.type}")
    if feature.type == "text":
        return (column if type_ in TEXTS else texts_of(column)).fillna("").to_numpy(dtype=object)
    if feature.type != "category":
        return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    if type_ not in TEXTS:
        column = texts_of(column)
    codes, distinct = pd.factorize(column, use_na_sentinel=True)
    known = np.array([*feature.encode(list(distinct)), np.nan], dtype=np.float64)
    return np.asarray(known[codes])


# The target


def target_of(table: Table, schema: Schema) -> NDArray[Any]:
    """Return the true labels or values, (rows,). Raises BadTrainingData."""
    return _target(table, schema.target, schema.task)


def _target(table: Table, name: str, task: Task) -> NDArray[Any]:
    column, type_ = table.frame[name], table.types[name]
    if column.isna().any():
        raise BadTrainingData(f"the column to predict, {name!r}, has missing values in {int(column.isna().sum())} rows")
    if task == "regression":
        if type_ in (*TEXTS, "date"):
            raise BadTrainingData(f"{name!r} holds values of type {type_}; a regression predicts numbers")
        return column.to_numpy(dtype=np.float64)
    if column.nunique() > MAX_CLASSES:
        raise BadTrainingData(f"{name!r} has {column.nunique()} classes; at most {MAX_CLASSES} (task=regression for a quantity)")
    if type_ in TEXTS:
        if column.map(len).max() > MAX_NAME:
            raise BadTrainingData(f"a class of {name!r} is longer than {MAX_NAME} characters")
        return column.to_numpy(dtype=object)
    if (column.abs() > MAX_INTEGER_CLASS).any():
        raise BadTrainingData(f"a class of {name!r} is beyond {MAX_INTEGER_CLASS:,}")
    if type_ == "date":
        return column.map(date_text).to_numpy(dtype=object)
    if type_ == "number" and not (column % 1 == 0).all():
        raise BadTrainingData(
            f"{name!r} holds fractions; classes are texts, integers or booleans (task=regression for a quantity)"
        )
    return column.to_numpy(dtype=np.bool_ if type_ == "boolean" else np.int64)


def _likely_task(table: Table, name: str) -> Task:
    column, type_ = table.frame[name], table.types[name]
    if type_ in (*TEXTS, "boolean"):
        return "classification"
    return "classification" if type_ == "integer" and column.nunique() <= min(FEW_INTEGERS, len(column) / 2) else "regression"


def weights_of(table: Table, name: str) -> NDArray[np.float64] | None:
    """Return the column of weights, (rows,); None if it has no name. Raises BadTrainingData."""
    if not name:
        return None
    if table.types[name] in TEXTS:
        raise BadTrainingData(f"the column of weights, {name!r}, holds text")
    weights = table.frame[name].to_numpy(dtype=np.float64)
    if np.isnan(weights).any() or (weights < 0).any() or weights.sum() == 0:
        raise BadTrainingData(f"the column of weights, {name!r}, has missing or negative values, or is all zero")
    return weights


def _refuse_unusable(dataset: Dataset) -> None:
    in_training, name = ~dataset.in_test, dataset.schema.target
    if dataset.schema.task == "regression" and len(np.unique(dataset.target)) < 2:
        raise BadTrainingData(f"{name!r} is the same in all rows: there is nothing to learn")
    if dataset.schema.task == "classification" and len(dataset.schema.classes) < 2:
        raise BadTrainingData(f"{name!r} has fewer than two classes: {listed([str(label) for label in dataset.schema.classes])}")
    if not dataset.in_test.any() or not in_training.any():
        raise BadTrainingData(
            "no row is left to test or to train on: "
            + ("the rows of a group stay together, so send more groups" if dataset.split.group else "send more rows")
        )
    if len(np.unique(dataset.target[in_training])) < 2:
        raise BadTrainingData(f"all rows to train on have the same {name!r}: send more rows")
    if dataset.weights is not None and dataset.weights[in_training].sum() == 0:
        raise BadTrainingData("all rows to train on have the weight 0")


def _classes(target: NDArray[Any]) -> list[Any]:
    found: list[Any] = np.unique(target).tolist()
    return found


# The schema


def _schema(
    table: Table, target: str, weight: str, task: Task, values: NDArray[Any], unknown: Unknown, ignore: Collection[str]
) -> Schema:
    names = [name for name in table.types if name not in (target, weight)]
    ignored = tuple(name for name in names if name in ignore or _is_useless(table.frame[name], table.types[name]))
    features = tuple(_feature(name, table.types[name], table.frame[name], unknown) for name in names if name not in ignored)
    if not features:
        raise BadTrainingData(f"beside {target!r} there is no column with values that a model could learn from")
    classes = tuple(_classes(values)) if task == "classification" else ()
    schema = Schema(features, target, classes, task, ignored)
    size = len(msgspec.json.encode(schema))
    if size > MAX_SCHEMA:
        raise BadTrainingData(f"names and categories of all columns take {size:,} bytes; at most {MAX_SCHEMA:,}")
    return schema


def _is_useless(column: "pd.Series[Any]", type_: FeatureType) -> bool:
    """Whether a column has no value, or texts that nearly all differ (names, notes, ids)."""
    present = column.dropna()
    if present.empty:
        return True
    if type_ == "text" or column.dtype != object:
        return False
    distinct = present.unique()
    nearly_all_differ = len(distinct) >= UNIQUE * len(present) or (
        len(distinct) > MAX_REFUSING and len(distinct) > len(present) / 2
    )
    return nearly_all_differ or max(map(len, distinct)) > MAX_NAME


def _feature(name: str, type_: FeatureType, column: "pd.Series[Any]", unknown: Unknown) -> Feature:
    present = column.dropna()
    missing = round(1 - len(present) / len(column), 6) or (1e-6 if len(present) < len(column) else 0.0)
    if type_ == "category":
        counts = present.value_counts()
        kept = tuple(sorted(counts.index[:MAX_CATEGORIES].tolist()))
        policy: Unknown = "ignore" if len(counts) > MAX_REFUSING else unknown
        return Feature(name, type_, str(present.iloc[0]), categories=kept, unknown=policy, missing_rate=missing)
    if type_ == "text":
        return Feature(name, type_, str(present.iloc[0])[:MAX_NAME], missing_rate=missing)
    decode = Feature(name, type_, 0.0).decode
    example, minimum, maximum = (decode(float(number)) for number in (present.iloc[0], present.min(), present.max()))
    assert example is not None
    if type_ == "boolean":
        return Feature(name, type_, example, missing_rate=missing)
    quantiles = () if type_ == "date" else tuple(float(number) for number in present.quantile(list(QUANTILES)))
    return Feature(name, type_, example, minimum, maximum, quantiles, missing_rate=missing)
