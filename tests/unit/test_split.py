"""Which rows are for testing: like rows by number, groups together, the latest by time; and rows that two models never saw."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from modeler import dataset, split, table, train
from modeler.data_warnings import data_warnings
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.split import Split
from models.card import FEATURES_ALONE, Card, Data
from models.options import TrainOptions
from tests.unit.test_models import fitted, make, shelf_at

CELLS = [(c, a, s) for c in ("first", "second", "third", "crew") for a in ("adult", "child") for s in ("woman", "man")][:14]


def passengers(rows: int = 1316) -> pd.DataFrame:
    """Return rows of 14 distinct combinations of categories, each with a rate of survival of its own."""
    chance = np.random.default_rng(1)
    cells = chance.integers(len(CELLS), size=rows)
    survives = chance.random(rows) < np.linspace(0.05, 0.95, len(CELLS))[cells]
    frame = pd.DataFrame([CELLS[cell] for cell in cells], columns=["class", "age", "sex"])
    return frame.assign(survived=np.where(survives, "yes", "no"))


def ready(frame: pd.DataFrame, target: str = "", **options: Any) -> Dataset:
    return dataset.make(table.read(frame.to_csv(index=False).encode(), "csv"), target, **options)


def counted(rows: Dataset) -> Counter[tuple[Any, ...]]:
    """Return the test rows as a multiset."""
    return Counter(rows.table.frame[rows.in_test].itertuples(index=False, name=None))


# Like rows


def test_equal_rows_fall_on_both_sides_and_so_the_accuracy_is_the_true_one() -> None:
    rows = ready(passengers())
    assert 0.15 < rows.in_test.mean() < 0.25
    assert rows.test_rows_like_training_rows == rows.in_test.sum()
    made = fitted(TrainOptions(model="m", estimator="DecisionTreeClassifier"), rows)
    truth = np.maximum(rates := np.linspace(0.05, 0.95, len(CELLS)), 1 - rates).mean()
    assert (made.evaluation.truth == made.evaluation.labels).mean() == pytest.approx(truth, abs=0.06)


def test_the_first_of_like_rows_has_the_hash_of_its_features_alone() -> None:
    frame = pd.concat([passengers(60), passengers(60)])
    rows = table.read(frame.to_csv(index=False).encode(), "csv")
    hashes, before = split.row_hashes(rows, without={"survived"}), split.like_before(rows, ["survived"])
    assert 0 < (before == 0).sum() < len(frame)
    assert np.array_equal(split.numbered(hashes, before)[before == 0], hashes[before == 0])
    assert len(set(split.numbered(hashes, before)[before > 0])) > len(CELLS)


def test_the_hash_of_a_numbered_row_never_changes() -> None:
    numbers = np.array([0, 1, 2, 1_000_000], dtype=np.uint64)
    assert split.numbered(np.full(4, 42, dtype=np.uint64), numbers).tolist() == NUMBERED


NUMBERED = [42, 13679457532755275413, 15664533255536094640, 15868137721870187777]


def test_the_order_of_rows_plays_no_part() -> None:
    frame = passengers()
    expected = counted(ready(frame))
    for seed in range(3):
        assert counted(ready(frame.sample(frac=1, random_state=seed))) == expected


def test_a_test_row_stays_one_as_like_rows_are_added() -> None:
    frame = passengers()
    few, many = counted(ready(frame.head(700))), counted(ready(frame))
    assert few <= many
    assert (ready(frame).in_test[:700] == ready(frame.head(700)).in_test).all()


def test_rows_are_alike_whatever_their_weight() -> None:
    frame = passengers()
    weighted = frame.assign(weight=np.random.default_rng(2).random(len(frame)))
    assert (ready(weighted, "survived", weight="weight").in_test == ready(frame).in_test).all()


def test_a_corrected_label_moves_no_row_that_is_unlike_others() -> None:
    frame = pd.DataFrame({"a": range(300), "b": [n % 7 for n in range(300)], "y": [n % 2 for n in range(300)]})
    assert (ready(frame).in_test == ready(frame.assign(y=1 - frame.y)).in_test).all()


def test_the_card_and_a_warning_tell_how_many_test_rows_have_a_like_in_training() -> None:
    rows = ready(passengers())
    data = train.data_of(rows, "m", ())
    assert data.test_rows_like_training_rows == rows.in_test.sum()
    said = f"{rows.in_test.sum()} of {rows.in_test.sum()} test rows have the features of a training row"
    assert any(said in warning and "group=" in warning for warning in data_warnings(rows))
    unlike = ready(pd.DataFrame({"a": np.arange(300) / 7, "y": [n % 2 for n in range(300)]}))
    assert train.data_of(unlike, "m", ()).test_rows_like_training_rows == 0
    assert not any("group=" in warning for warning in data_warnings(unlike))


# Of two models


def trained_on(rows: Dataset) -> Counter[tuple[Any, ...]]:
    return Counter(rows.table.frame[~rows.in_test].itertuples(index=False, name=None))


def test_the_union_of_test_rows_has_of_like_rows_as_many_as_the_one_with_more() -> None:
    frame = passengers()
    known, sent = ready(frame.head(900)), ready(frame.tail(900))
    bench = train._comparison_rows(sent, known.split, known.table)
    union = Counter(bench.table.frame.itertuples(index=False, name=None))
    assert union == counted(known) | counted(sent)
    assert bench.known.sum() == known.in_test.sum()


def test_of_a_version_that_was_split_by_features_alone_no_training_row_is_a_test_row(tmp_path: Path) -> None:
    frame = passengers()
    old = ready(frame, split=Split(0.2, version=FEATURES_ALONE))
    learned = {row[:-1] for row in trained_on(old)}
    sent = ready(frame)
    bench = train._comparison_rows(sent, old.split, old.table)
    assert len(bench.truth)
    assert not learned & {row[:-1] for row in bench.table.frame.itertuples(index=False, name=None)}
    champion = make(tmp_path, options=TrainOptions(model="m", estimator="DecisionTreeClassifier"), rows=old)
    assert champion.data.split == FEATURES_ALONE
    compared = train.compare_with_champion(fitted(TrainOptions(model="m"), sent), champion, shelf_at(tmp_path))
    assert compared.theirs is not None
    assert compared.theirs.rows == len(bench.truth)


def test_a_card_of_an_earlier_release_was_split_by_features_alone() -> None:
    old = b'{"dataset":"m","sha256":"","parts":[],"rows":10,"training_rows":8,"test_share":0.2}'
    assert split.of(msgspec.json.decode(old, type=Data)) == Split(0.2, version=FEATURES_ALONE)


# Groups


def visits(patients: int = 60, each: int = 5) -> pd.DataFrame:
    chance = np.random.default_rng(3)
    people = np.repeat(np.arange(patients), each)
    return pd.DataFrame(
        {
            "patient": [f"p{n}" for n in people],
            "a": chance.normal(size=len(people)) + people,
            "y": chance.normal(size=len(people)),
        }
    )


def test_the_rows_of_a_group_are_on_one_side_and_the_group_is_no_feature() -> None:
    rows = ready(visits(), group="patient")
    sides = rows.table.frame.assign(test=rows.in_test).groupby("patient").test.nunique()
    assert (sides == 1).all()
    assert 0.1 < rows.in_test.mean() < 0.3
    assert (rows.schema.names, rows.schema.ignored) == (["a"], ("patient",))
    assert split.of(train.data_of(rows, "m", ())) == rows.split == Split(0.2, group="patient")


def test_new_rows_of_a_group_join_it_on_its_side() -> None:
    frame = visits()
    few, many = ready(frame.iloc[::2], group="patient"), ready(frame, group="patient")
    assert (many.in_test[::2] == few.in_test).all()


def test_a_column_that_looks_like_one_of_groups_is_told() -> None:
    assert any("'patient' looks like one of groups" in warning for warning in data_warnings(ready(visits())))
    assert not any("looks like" in warning for warning in data_warnings(ready(visits().rename(columns={"patient": "model"}))))
    assert not any("looks like" in warning for warning in data_warnings(ready(visits(), group="patient")))


def test_of_a_version_without_groups_only_rows_are_compared_that_it_was_not_trained_on(tmp_path: Path) -> None:
    frame = visits()
    before, now = ready(frame), ready(frame, group="patient")
    bench = train._comparison_rows(now, before.split, before.table)
    assert set(bench.table.frame.itertuples(index=False, name=None)) == set(counted(before)) & set(counted(now))


# Time


def days(rows: int = 400) -> pd.DataFrame:
    chance = np.random.default_rng(4)
    dates = pd.date_range("2024-01-01", periods=rows // 4).repeat(4)
    return pd.DataFrame({"day": dates.strftime("%Y-%m-%d"), "a": chance.normal(size=rows), "y": chance.normal(size=rows)})


def test_the_latest_rows_test_and_rows_of_one_time_are_on_one_side() -> None:
    frame = days().sample(frac=1, random_state=0)
    rows = ready(frame, time="day")
    tested, learned = rows.table.frame.day[rows.in_test], rows.table.frame.day[~rows.in_test]
    assert tested.min() > learned.max()
    assert rows.in_test.mean() == pytest.approx(0.2, abs=0.01)
    assert rows.split.until == learned.max() == train.data_of(rows, "m", ()).trained_until


def test_as_data_grow_the_boundary_moves_on_and_no_trained_row_is_judged(tmp_path: Path) -> None:
    frame = days()
    before, now = ready(frame.head(200), time="day"), ready(frame, time="day")
    assert now.split.until is not None
    assert before.split.until is not None
    assert now.split.until > before.split.until
    bench = train._comparison_rows(now, before.split, before.table)
    assert (bench.table.frame.day > now.split.until).all()
    assert len(bench.truth) == now.in_test.sum()
    backward = train._comparison_rows(before, now.split, now.table)
    assert (backward.table.frame.day > now.split.until).all()


def test_a_date_whose_order_may_matter_is_told() -> None:
    assert any("time=day tests it on the latest" in warning for warning in data_warnings(ready(days())))
    assert not any("time=day" in warning for warning in data_warnings(ready(days(), time="day")))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"group": "patient", "time": "a"}, "not by both"),
        ({"group": "y"}, "as well as the target"),
        ({"group": "client"}, "no column 'client' of groups"),
        ({"time": "hour"}, "no column 'hour' of time"),
        ({"time": "patient"}, "is of type category"),
    ],
)
def test_a_group_or_time_that_cannot_be_says_why(options: dict[str, str], says: str) -> None:
    with pytest.raises(BadTrainingData, match=says):
        ready(visits(), "y", **options)


def test_a_refit_has_the_test_rows_of_its_version(tmp_path: Path) -> None:
    frame = days()
    first: Card = make(tmp_path, options=TrainOptions(model="m", estimator="Ridge"), rows=ready(frame, time="day"))
    again = ready(frame, split=split.of(first.data), only=first.schema)
    assert again.in_test.sum() == first.metrics.rows
    assert again.split.until == first.data.trained_until
