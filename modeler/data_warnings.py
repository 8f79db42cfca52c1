"""Warnings about a training set that its user should know before trusting the model."""

import re
from collections.abc import Iterator

import numpy as np

from modeler.cross_validation import FEW_TEST_ROWS
from modeler.dataset import FEW_INTEGERS, Dataset
from modeler.leaks import leaks
from models.input_errors import listed

MANY_LIKE = 0.2  # share of test rows that are like a training row
MIN_GROUPS = 10
MAX_ROWS_OF_A_GROUP = 100  # on average; a column with fewer values, each in more rows, is a category as others are
IDS = re.compile(r"(^|[_\W])(id|ids|uuid|guid|key|no|nr|number|code)$|(?<=[a-z])(Id|ID|Key|Code)$", re.ASCII)
ENTITIES = re.compile(
    r"customer|client|user|patient|subject|person|member|account|household|family|student|employee|driver|player|session|device"
    r"|sensor|machine|vehicle|store|shop|site|station|school|hospital|company|author|speaker|participant",
    re.IGNORECASE,
)


def data_warnings(dataset: Dataset) -> list[str]:
    """Return the warnings about the columns, the target and the test rows."""
    return [*_of_columns(dataset), *_of_the_target(dataset), *_of_the_test(dataset), *_of_the_split(dataset), *leaks(dataset)]


def _of_columns(dataset: Dataset) -> Iterator[str]:
    schema, table = dataset.schema, dataset.table
    useless = [name for name in schema.ignored if name != dataset.split.group]
    if useless:
        yield (
            f"left out, being without values or texts that nearly all differ: {listed(useless)} "
            "(types={…: 'text'} learns from the words of sentences)"
        )
    yield from table.report.doubts


def _of_the_target(dataset: Dataset) -> Iterator[str]:
    different, name = len(np.unique(dataset.target)), dataset.schema.target
    if dataset.schema.task == "regression" and different <= FEW_INTEGERS:
        yield f"{name!r} is taken for a quantity, and has only {different} different values (task=classification for classes)"


def _of_the_test(dataset: Dataset) -> Iterator[str]:
    rows = int(dataset.in_test.sum())
    if rows < FEW_TEST_ROWS:
        yield f"there are only {rows} test rows: how good it is, and which version is better, is uncertain"
    if dataset.schema.task == "classification":
        untested = np.setdiff1d(dataset.target, dataset.target[dataset.in_test])
        if len(untested):
            yield f"no test row is of class {listed([str(label) for label in untested])}"


def _of_the_split(dataset: Dataset) -> Iterator[str]:
    split, table, rows = dataset.split, dataset.table, int(dataset.in_test.sum())
    if split.group:
        yield f"{split.group!r} is no feature: its rows are kept together, so that groups which the model has never seen test it"
    for name, role in ((split.group, "are one group"), (split.time, "are trained on, whenever they were")):
        if name and table.frame[name].isna().any():
            yield f"{int(table.frame[name].isna().sum())} rows have no {name!r}: they {role}"
    if split.group or split.time:
        return
    alike = dataset.test_rows_like_training_rows
    if alike >= MANY_LIKE * rows:
        yield (
            f"{alike} of {rows} test rows have the features of a training row: that is fair if new rows will too; if they "
            "are repeats of one case, such as one customer, group=<its column> keeps them together"
        )
    for name in table.types:
        if name not in dataset.labels:
            yield from _hint(dataset, name)


def _hint(dataset: Dataset, name: str) -> Iterator[str]:
    """Yield whether a column looks like one of groups, or of time."""
    column = dataset.table.frame[name]
    if dataset.table.types[name] == "date":
        if column.nunique() > len(column) / 10:
            yield f"{name!r} is a date: for a model that is to predict later rows, time={name} tests it on the latest"
        return
    values = column.nunique()
    named = bool(IDS.search(name) or ENTITIES.search(name)) and dataset.table.types[name] in ("category", "integer")
    if named and MIN_GROUPS <= values <= len(column) / 2 and len(column) <= MAX_ROWS_OF_A_GROUP * values:
        yield f"{name!r} looks like one of groups, {values} in {len(column)} rows: group={name} keeps a group's rows together"
