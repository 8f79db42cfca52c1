"""Rows are added, and no test row is ever trained on. The training rows are read from the version itself: a nearest-neighbour
model stores them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline

from jobs.job import Kind
from mldeploy.client import Client, Problem
from modeler import artifact
from modeler.artifact import open_artifact_store
from models.card import from_json
from models.signing import signing_key
from settings import Settings
from tests.poison import without_workers
from tests.processes import Pieces
from tests.service import Service

PATIENCE = 120.0
ALL: pd.DataFrame = load_breast_cancer(as_frame=True).frame
FIRST = ALL.head(len(ALL) * 2 // 3)
REST = ALL.tail(len(ALL) - len(FIRST))
AGAIN = 5  # rows that are sent a second time
NAMES = list(ALL.columns.drop("target"))


class Growth(NamedTuple):
    """Two trainings, and the addition between them."""

    first: dict[str, Any]
    added: dict[str, Any]
    second: dict[str, Any]


@pytest.fixture(scope="module")
def growth(service: Service) -> Growth:
    client = Client(service.url)
    first = client.train(FIRST, model="growing", target="target", estimator="KNeighborsClassifier").wait(PATIENCE)
    added = client.add_rows("growing", pd.concat([FIRST.head(AGAIN), REST]), dedupe=True).wait(PATIENCE)
    second = client.train(model="growing").wait(PATIENCE)
    return Growth(first, added, second)


def remembered(service: Service, name: str, version: int) -> set[int]:
    """Return the places in ALL of the rows that the stored model holds, with its scaling undone."""
    card = from_json(json.dumps(Client(service.url).version(name, version)["card"]))
    stored = artifact.load(open_artifact_store(service.settings.store_location, signing_key(service.home, "")), card)
    assert isinstance(stored, Pipeline)
    scaled, held = stored[:-1].transform(ALL[NAMES].to_numpy()), stored[-1]._fit_X
    distances = np.abs(scaled[None, :, :] - held[:, None, :]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-9, "each row that it holds is one of ours"
    places = distances.argmin(axis=1).tolist()
    assert len(set(places)) == len(held) == card.data.training_rows
    return set(places)


def test_no_test_row_is_ever_trained_on_as_a_data_set_grows_by_half(service: Service, growth: Growth) -> None:
    """The stored models are read, not their cards."""
    old, everything = set(range(len(FIRST))), set(range(len(ALL)))
    trained_first, trained_second = remembered(service, "growing", 1), remembered(service, "growing", 2)
    tested_first, tested_second = old - trained_first, everything - trained_second
    assert trained_first <= old
    assert not tested_first & trained_second
    assert not trained_first & tested_second
    new = everything - old
    assert new & trained_second
    assert new & tested_second
    assert 0.1 < len(tested_second) / len(ALL) < 0.3
    assert (growth.first["metrics"]["rows"], growth.second["metrics"]["rows"]) == (len(tested_first), len(tested_second))


def test_adding_rows_counts_new_rows_and_duplicates(growth: Growth) -> None:
    counts = {name: growth.added[name] for name in ("added", "duplicates", "rows", "revision")}
    assert counts == {"added": len(REST), "duplicates": AGAIN, "rows": len(ALL), "revision": 2}


def test_a_training_without_a_table_is_on_all_rows_and_as_the_one_before(growth: Growth) -> None:
    assert (growth.first["dataset"]["rows"], growth.second["dataset"]["rows"]) == (len(FIRST), len(ALL))
    assert growth.second["estimator"] == growth.first["estimator"] == "KNeighborsClassifier"
    assert growth.second["champion_metrics"]["rows"] == growth.second["metrics"]["rows"]


def test_a_row_stays_on_its_side_when_its_label_is_corrected(service: Service, client: Client, growth: Growth) -> None:
    corrected = ALL.assign(target=1 - ALL["target"]).sample(frac=1, random_state=0)
    job = client.train(corrected, model="corrected", target="target", estimator="KNeighborsClassifier", promote="always")
    job.wait(PATIENCE)
    assert remembered(service, "corrected", 1) == remembered(service, "growing", 2)


def test_the_share_for_testing_is_fixed_by_the_first_training(client: Client, growth: Growth) -> None:
    with pytest.raises(Problem, match=r"test share was fixed at 0\.2"):
        client.train(model="growing", test_share=0.3).wait(PATIENCE)


def test_a_retraining_keeps_the_groups_of_the_champion(client: Client) -> None:
    rows = pd.DataFrame(
        {"patient": [f"p{n % 40}" for n in range(200)], "a": range(200), "y": [n % 40 * 2 + 0.5 for n in range(200)]}
    )
    for table in (rows, None):
        options: dict[str, Any] = {} if table is None else {"group": "patient", "target": "y", "promote": "always"}
        result = client.train(table, model="visits", **options).wait(PATIENCE)
        data = client.version("visits", result["model"]["version"])["card"]["data"]
        assert (data["group"], data["split"]) == ("patient", 2)
        assert any("'patient' is no feature" in warning for warning in result["warnings"])
    assert client.model("visits")["schema"]["required"] == ["a"]


def test_data_sets_are_listed_and_shown(client: Client, growth: Growth) -> None:
    shown = client.dataset("growing")
    assert shown in client.datasets()
    assert (shown["name"], shown["rows"], shown["revision"], shown["parts"]) == ("growing", len(ALL), 2, 2)
    assert (shown["target"], shown["weight"], shown["test_share"]) == ("target", None, 0.2)
    assert shown["types"] == {**dict.fromkeys(NAMES, "number"), "target": "integer"}
    assert shown["created_at"] < shown["updated_at"]


def test_unknown_data_set_error_lists_the_known_ones(client: Client, growth: Growth) -> None:
    with pytest.raises(Problem, match="growing") as raised:
        client.dataset("shrinking")
    assert (raised.value.status, raised.value.type.split(":")[-1]) == (404, "unknown-dataset")


# What is refused


def ndjson(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "rows.ndjson"
    path.write_text(frame.to_json(orient="records", lines=True))
    return path


def refused(client: Client, rows: Any) -> Problem:
    """Check that the addition is refused and the data set unchanged. Returns the problem."""
    before = client.dataset("growing")
    with pytest.raises(Problem) as raised:
        client.add_rows("growing", rows).wait(PATIENCE)
    assert client.dataset("growing") == before
    return raised.value


def test_rows_of_other_columns_are_refused_at_the_door(client: Client, growth: Growth) -> None:
    problem = refused(client, REST.rename(columns={"mean area": "mean acreage"}).to_csv(index=False))
    assert (problem.status, problem.type.split(":")[-1]) == (422, "bad-table")
    assert "mean acreage, mean area differ" in problem.detail


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mean radius": "big"}, "column 'mean radius' is of type number so far, and what is sent is of type category, as 'big'"),
        ({"mean radius": "2026-01-31"}, "is of type date"),
        ({"mean radius": True}, "is of type boolean"),
        ({"target": None}, "column 'target' has missing values, first in row 1"),
    ],
)
def test_rows_of_another_type_fail_and_leave_the_data_set_as_it_was(
    client: Client, growth: Growth, change: dict[str, Any], says: str
) -> None:
    problem = refused(client, REST.head(20).assign(**change))
    assert problem.type.split(":")[-1] == "bad-training-data"
    assert says in problem.detail


def test_lines_of_other_columns_fail_and_leave_the_data_set_as_it_was(client: Client, growth: Growth, tmp_path: Path) -> None:
    problem = refused(client, ndjson(tmp_path, REST.drop(columns="mean area")))
    assert problem.type.split(":")[-1] == "bad-training-data"
    assert "mean area differ" in problem.detail


def test_rows_that_are_all_there_already_change_nothing(client: Client, growth: Growth, tmp_path: Path) -> None:
    """With dedupe this holds whatever their format and the order of rows and columns."""
    before = client.dataset("growing")
    result = client.add_rows("growing", ndjson(tmp_path, REST.iloc[::-1, ::-1]), dedupe=True).wait(PATIENCE)
    assert (result["added"], result["duplicates"], result["revision"]) == (0, len(REST), before["revision"])
    assert client.dataset("growing") == before


# Several at once


@pytest.fixture(scope="module")
def two_trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    with without_workers(Settings(train_workers=2), tmp_path_factory.mktemp("two")) as pieces:
        pieces.worker(Kind.TRAIN)
        yield pieces


def test_rows_that_are_added_at_once_all_get_there(two_trainers: Pieces) -> None:
    """Two processes add them, and each finds the data set changed meanwhile."""
    client, slices = Client(two_trainers.url), [ALL.iloc[place::12] for place in range(12)]
    client.add_rows("busy", slices[0]).wait(PATIENCE)
    with ThreadPoolExecutor(len(slices)) as senders:
        jobs = list(senders.map(lambda rows: Client(two_trainers.url).add_rows("busy", rows), slices[1:]))
    results = [job.wait(PATIENCE) for job in jobs]
    assert sorted(result["revision"] for result in results) == list(range(2, len(slices) + 1))
    assert sum(result["added"] for result in results) == len(ALL) - len(slices[0])
    shown = client.dataset("busy")
    assert (shown["rows"], shown["revision"]) == (len(ALL), len(slices))
    again = client.add_rows("busy", ALL, dedupe=True).wait(PATIENCE)
    assert (again["added"], again["duplicates"]) == (0, len(ALL))


def test_one_table_that_is_sent_at_once_by_many_comes_in_once(two_trainers: Pieces) -> None:
    client = Client(two_trainers.url)
    client.add_rows("once", ALL.head(50)).wait(PATIENCE)
    with ThreadPoolExecutor(8) as senders:
        jobs = list(senders.map(lambda _: Client(two_trainers.url).add_rows("once", ALL.tail(60)), range(8)))
    results = [job.wait(PATIENCE) for job in jobs]
    assert sorted(result["added"] for result in results) == [0] * 7 + [60]
    assert [result["same_file"] for result in results].count(True) == 7
    assert client.dataset("once")["rows"] == 110


def test_tables_with_the_same_keys_that_are_added_at_once_leave_each_key_once(two_trainers: Pieces) -> None:
    client, keys = Client(two_trainers.url), 40
    tables = [pd.DataFrame({"id": range(start, start + keys), "by": f"sender {start}"}) for start in range(0, 80, 10)]
    client.add_rows("keyed", tables[0], key="id").wait(PATIENCE)
    with ThreadPoolExecutor(len(tables)) as senders:
        jobs = list(senders.map(lambda rows: Client(two_trainers.url).add_rows("keyed", rows), tables[1:]))
    results = [job.wait(PATIENCE) for job in jobs]
    assert [result["added"] + result["replaced"] for result in results] == [keys] * len(results)
    assert client.dataset("keyed")["rows"] == keys + sum(result["added"] for result in results) == 110
    everything = pd.DataFrame({"id": range(110), "by": "the last"})
    last = client.add_rows("keyed", everything).wait(PATIENCE)
    assert (last["added"], last["replaced"], last["rows"]) == (0, 110, 110)
