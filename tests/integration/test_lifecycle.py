"""From data to the serving version: the promotion gate, alias moves, rollback, and removal of old versions."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from jobs.job import Job, Kind
from mldeploy.client import Client, JobFailed, Problem
from models.packaged import packaged_csv
from settings import Settings
from tests.processes import Pieces, until

HEADER, *LINES = (packaged_csv("iris") or b"").decode().splitlines()
FLOWERS = [dict(zip(HEADER.split(",")[:4], map(float, line.split(",")[:4]), strict=True)) for line in LINES]
DIABETES = "a,b,y\n" + "".join(f"{n % 37},{n % 23},{n % 37 * 2 + n % 23 + (n * 7 % 5) / 10}\n" for n in range(400))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    made = Pieces(
        Settings().replace(lease=4.0, wakeup_timeout=1.0, train_workers=2, keep_versions=3), tmp_path_factory.mktemp("lifecycle")
    )
    try:
        made.all()
        yield made
    finally:
        made.stop()


@pytest.fixture
def client(pieces: Pieces) -> Client:
    return Client(pieces.url)


def shuffled_labels() -> str:
    labels = [line.rpartition(",")[2] for line in LINES]
    random.Random(1).shuffle(labels)
    return "\n".join([HEADER, *(f"{line.rpartition(',')[0]},{label}" for line, label in zip(LINES, labels, strict=True))]) + "\n"


def few_columns_matter() -> str:
    """Return iris with two features spoilt: a model of it is worse and takes the same measurements."""
    spoilt = [line.split(",") for line in LINES]
    return "\n".join([HEADER, *(",".join([*row[:2], "1.0", "1.0", row[4]]) for row in spoilt)]) + "\n"


def labels(client: Client, model: str) -> list[Any]:
    return [each["prediction"] for each in client.predict(FLOWERS, model=model).wait(60)["predictions"]]


def champion(client: Client, model: str) -> int:
    found: int = client.model(model)["aliases"]["champion"]
    return found


# The promotion gate and rollback


def test_only_a_better_challenger_is_promoted(client: Client) -> None:
    iris = f"{HEADER}\n" + "\n".join(LINES) + "\n"
    first = client.train(iris, model="flowers", estimator="DecisionTreeClassifier", params={"max_depth": 1}).wait(60)
    assert first["promoted"], first["reason"]
    worse = client.train(shuffled_labels(), model="flowers").wait(60)
    assert not worse["promoted"]
    assert worse["metrics"]["rows"] == worse["champion_metrics"]["rows"]
    assert "of version 1 on the same" in worse["reason"]
    again = client.train(model="flowers").wait(60)  # on the rows of the champion, not on the shuffled ones
    assert (again["promoted"], "a tie keeps the champion" in again["reason"]) == (False, True)
    assert again["dataset"]["sha256"] == first["dataset"]["sha256"]
    better = client.train(model="flowers", estimator="LogisticRegression").wait(60)
    assert better["promoted"], better["reason"]
    assert better["improvement"]["value"] > 0
    assert champion(client, "flowers") == better["model"]["version"] == 4


def test_rollback_gives_the_same_predictions_again_and_goes_further_back_each_time(client: Client) -> None:
    said = {}
    for version, estimator in enumerate(("DecisionTreeClassifier", "GaussianNB", "KNeighborsClassifier"), 1):
        client.train(packaged_csv("iris"), model="rolled", estimator=estimator, promote="always").wait(60)
        said[version] = labels(client, "rolled")
    assert len({tuple(each) for each in said.values()}) > 1
    for version in (2, 1):
        rolled_back = client.rollback("rolled", who="somebody", why="as it was")
        assert rolled_back["aliases"]["champion"] == version
        assert labels(client, "rolled") == said[version]
    with pytest.raises(Problem) as refused:
        client.rollback("rolled")
    assert (refused.value.status, refused.value.type.split(":")[-1]) == (409, "nothing-before")
    newest = client.model("rolled")["moves"][0]
    assert (newest["who"], newest["why"], newest["from_version"], newest["to_version"]) == ("somebody", "as it was", 2, 1)
    assert newest["at"] > client.model("rolled")["moves"][-1]["at"] > 1.7e12


def test_a_rolled_back_regression_gives_the_same_numbers(client: Client) -> None:
    rows = [{"a": n % 37, "b": n % 23} for n in range(50)]

    def numbers() -> list[float]:
        return [each["prediction"] for each in client.predict(rows, model="sugar").wait(60)["predictions"]]

    first = client.train(DIABETES, model="sugar", target="y", estimator="RandomForestRegressor").wait(60)
    assert (first["promoted"], set(first["metrics"]) & {"mae", "rmse", "r2"}) == (True, {"mae", "rmse", "r2"})
    before = numbers()
    client.train(model="sugar", estimator="DummyRegressor", promote="always").wait(60)
    assert len(set(numbers())) == 1
    client.rollback("sugar")
    assert numbers() == pytest.approx(before, abs=1e-9)
    with pytest.raises(Problem, match="gives no probabilities"):
        client.predict(rows[0], model="sugar", proba=True)


def test_of_two_concurrent_trainings_the_better_one_serves(pieces: Pieces, client: Client) -> None:
    """Both are better than the champion; the one that ends last is compared with the other."""
    client.train(packaged_csv("iris"), model="raced", estimator="DummyClassifier", promote="always").wait(60)
    trainers = [running for running in pieces._running if running.name == Kind.TRAIN]
    for _ in range(3):
        for trainer in trainers:
            trainer.signal_all(signal.SIGSTOP)
        jobs = [
            client.train(model="raced", estimator=name, params=params)
            for name, params in (("DecisionTreeClassifier", {"max_depth": 1}), ("LogisticRegression", {}))
        ]
        for trainer in trainers:
            trainer.signal_all(signal.SIGCONT)
        poor, good = (job.wait(60) for job in jobs)
        assert good["metrics"]["accuracy"] > poor["metrics"]["accuracy"]
        assert champion(client, "raced") == good["model"]["version"]
        client.train(model="raced", estimator="DummyClassifier", promote="always").wait(60)


def test_two_trainings_that_end_together_are_judged_against_each_other(client: Client) -> None:
    estimators = ("GaussianNB", "KNeighborsClassifier", "DecisionTreeClassifier")
    jobs = [client.train(packaged_csv("iris"), model="at-once", estimator=name) for name in estimators]
    results = [job.wait(60) for job in jobs]
    best = max(result["metrics"]["accuracy"] for result in results)
    serves = next(result for result in results if result["model"]["version"] == champion(client, "at-once"))
    assert (serves["metrics"]["accuracy"], serves["promoted"]) == (best, True)  # of two equal ones the first


def test_the_first_version_must_beat_the_baseline(client: Client) -> None:
    noise = "a,b,y\n" + "".join(f"{n * 7919 % 1009},{n * 104729 % 997},{'x' if n * 31 % 7 < 5 else 'z'}\n" for n in range(200))
    result = client.train(noise, model="noise", estimator="DummyClassifier").wait(60)
    assert (result["promoted"], "the first version must beat the baseline" in result["reason"]) == (False, True)
    with pytest.raises(Problem, match="aliases/champion"):
        client.predict({"a": 1, "b": 2}, model="noise")
    client.promote("noise", 1, why="good enough")
    assert client.predict({"a": 1, "b": 2}, model="noise").wait(30)["prediction"] == "x"


def test_the_gate_takes_a_metric_a_margin_and_a_confidence(client: Client) -> None:
    client.train(packaged_csv("iris"), model="gated", estimator="NearestCentroid").wait(60)
    options: dict[str, Any] = {"model": "gated", "estimator": "KNeighborsClassifier"}
    wide = client.train(**options, min_improvement=0.5).wait(60)
    assert (wide["promoted"], "it takes more than 0.5" in wide["reason"]) == (False, True)
    sure = client.train(**options, confidence=0.9999).wait(60)
    assert (sure["promoted"], "may be as low as" in sure["reason"]) == (False, True)
    other = client.train(**options, metric="log_loss").wait(60)
    assert (other["promoted"], other["improvement"]["metric"]) == (True, "log_loss")


@pytest.mark.slow
def test_a_retraining_is_for_the_champions_task_metric_and_categories(client: Client) -> None:
    table = "a,c,y\n" + "".join(f"{n % 31},{'x' if n % 3 else 'z'},{n % 29}\n" for n in range(600))
    options: dict[str, Any] = {"task": "classification", "metric": "f1_macro", "unknown": "ignore"}
    client.train(table, model="many", **options).wait(60)
    again = client.train(model="many").wait(60)
    assert (again["improvement"]["metric"], again["champion_metrics"] is not None) == ("f1_macro", True)
    assert client.version("many", 2)["card"]["schema"]["features"][1]["unknown"] == "ignore"


def test_rows_that_came_while_a_training_won_stay(pieces: Pieces, client: Client) -> None:
    trainers = [running for running in pieces._running if running.name == Kind.TRAIN and running.popen.poll() is None]
    client.add_rows("late", packaged_csv("iris")).wait(60)
    job = client.train(packaged_csv("iris"), model="late", estimator="RandomForestClassifier", params={"n_estimators": 1500})
    until(lambda: job.reload().progress.get("stage") == "fit", 30, "it fits")
    assert trainers
    added = client.add_rows("late", f"{HEADER}\n5.05,3.45,1.45,0.25,setosa\n").wait(60)
    assert added["added"] == 1
    assert job.reload().status == "running"
    assert job.wait(60)["promoted"]
    assert client.dataset("late")["rows"] == 151


def test_other_features_are_not_judged_and_not_promoted(client: Client) -> None:
    client.train(packaged_csv("iris"), model="reshaped").wait(60)
    other = client.train(DIABETES, model="reshaped").wait(60)
    assert (other["promoted"], other["champion_metrics"]) == (False, None)
    assert "cannot be judged" in other["reason"]


# Versions and jobs


def test_a_job_accepted_for_a_version_is_answered_by_it(pieces: Pieces, client: Client) -> None:
    client.train(packaged_csv("iris"), model="waited", estimator="DecisionTreeClassifier").wait(60)
    workers = [running for running in pieces._running if running.name == Kind.PREDICT]
    for worker in workers:
        worker.signal_all(signal.SIGSTOP)
    before = client.predict(FLOWERS[0], model="waited")
    for worker in workers:
        worker.signal_all(signal.SIGCONT)
    client.train(packaged_csv("iris"), model="waited", estimator="GaussianNB", promote="always").wait(60)
    after = client.predict(FLOWERS[0], model="waited")
    assert before.wait(30)["prediction"] == after.wait(30)["prediction"] == "setosa"
    assert [job.answer["model"]["version"] for job in (before, after)] == [1, 2]


def versions_in(folder: Path) -> list[int]:
    """Return the versions without those that are being removed."""
    return sorted(int(each.name.partition("-")[0]) for each in folder.iterdir() if not each.name.startswith("."))


@pytest.mark.slow
def test_old_versions_are_removed_unless_an_alias_a_job_or_a_rollback_needs_them(pieces: Pieces, client: Client) -> None:
    """Three are kept. Version 1 has an alias, an open job names version 3, and a rollback leads to version 4."""
    rows = packaged_csv("iris")
    for _ in range(3):
        client.train(rows, model="kept", promote="always").wait(60)
    client.promote("kept", 1, alias="blessed")
    waiting = Job(pieces.ledger.new_id(), Kind.PREDICT, "kept", 3, 1, b"\x90", b"{}", after=reserved(pieces))
    pieces.ledger.add([waiting])
    for promote in ("always", "always", "never", "never", "never", "never"):
        client.train(rows, model="kept", promote=promote).wait(60)
    folder = Path(pieces.settings.store_location) / "kept"
    kept = [1, 3, 4, 5, 7, 8, 9]
    until(lambda: versions_in(folder) == kept, 20, "2 and 6 are gone")
    assert [card["version"] for card in client.model("kept")["versions"]] == kept
    with pytest.raises(Problem, match="has no version 2"):
        client.predict(FLOWERS[0], model="kept", version=2)
    assert client.predict(FLOWERS[0], model="kept", version="blessed").wait(30)
    assert client.rollback("kept")["aliases"]["champion"] == 4


def reserved(pieces: Pieces) -> str:
    """Return the id of a training that never ends, for a job to wait for."""
    training = pieces.ledger.new_id()
    pieces.ledger.redis.hset(f"{pieces.ledger.prefix}job:{training}", mapping={"state": "queued", "created_at": 1})
    return training


def test_training_shows_its_progress(client: Client) -> None:
    job = client.train(packaged_csv("iris"), model="slow", estimator="RandomForestClassifier", search=6)
    until(lambda: job.reload().progress.get("stage") == "search", 30, "it searches")
    assert 0 <= job.progress["done"] <= job.progress["total"]
    result = job.wait(60)
    assert "progress" not in job.answer
    assert result["estimator"] == "RandomForestClassifier"


def test_an_alias_can_be_moved_and_taken_away_and_champion_stays(pieces: Pieces, client: Client) -> None:
    client.train(packaged_csv("iris"), model="aliased").wait(60)
    client.promote("aliased", 1, alias="next")
    url = f"{pieces.url}/models/aliased/aliases"
    assert requests.delete(f"{url}/next", timeout=10).json()["aliases"] == {"champion": 1}
    assert requests.delete(f"{url}/next", timeout=10).status_code == 404
    assert requests.delete(f"{url}/champion", timeout=10).status_code == 409
    for alias, body in (("Next", {"version": 1}), ("next", {"version": 0}), ("next", {}), ("next", {"version": 1, "what": 1})):
        assert requests.put(f"{url}/{alias}", json=body, timeout=10).status_code == 422
    assert requests.put(f"{url}/next", json={"version": 9}, timeout=10).status_code == 404


@pytest.mark.slow
def test_imported_model_is_not_compared(pieces: Pieces, client: Client) -> None:
    """Its training rows are unknown."""
    client.train(packaged_csv("iris"), model="brought").wait(60)
    key = f"{pieces.ledger.prefix}model:brought"
    card = cast("bytes", pieces.ledger.redis.hget(key, "card:1"))
    pieces.ledger.redis.hset(key, "card:1", card.replace(b'"test_share":0.2', b'"test_share":0.2,"held_out":false'))
    for worker in [running for running in pieces._running if running.name == Kind.TRAIN]:
        worker.terminate()
    pieces.worker(Kind.TRAIN)
    result = client.train(packaged_csv("iris"), model="brought").wait(60)
    assert (result["promoted"], result["champion_metrics"]) == (False, None)


def test_a_test_share_is_fixed_by_the_first_training(client: Client) -> None:
    client.train(packaged_csv("iris"), model="shared", test_share=0.3).wait(60)
    assert client.dataset("shared")["test_share"] == 0.3
    assert client.train(model="shared").wait(60)["metrics"]["rows"] == client.version("shared", 1)["card"]["metrics"]["rows"]
    with pytest.raises(JobFailed, match=r"fixed at 0\.3"):
        client.train(model="shared", test_share=0.2).wait(60)


def test_a_data_set_can_be_there_first_and_train_several_models(client: Client) -> None:
    added = client.add_rows("garden", packaged_csv("iris")).wait(60)
    assert (added["added"], added["duplicates"], added["rows"]) == (150, 0, 150)
    assert client.dataset("garden")["test_share"] is None
    for model in ("one", "two"):
        assert client.train(model=model, dataset="garden", target="species").wait(60)["dataset"]["name"] == "garden"
    assert client.dataset("garden")["target"] == "species"
    client.add_rows("garden", f"{HEADER}\n5.05,3.45,1.45,0.25,setosa\n").wait(60)
    assert client.train(model="one").wait(60)["dataset"]["rows"] == 151
    with pytest.raises(Problem, match="no data set weeds"):
        client.train(model="one", dataset="weeds")
