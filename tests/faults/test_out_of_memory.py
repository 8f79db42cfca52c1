"""The memory of the machine, here of a control group, runs out."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from mldeploy.client import Client, JobFailed
from tests.control_groups import ControlGroup, control_group
from tests.processes import until
from tests.service import NAMES, Service

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
ROOM = 40_000_000  # bytes beside what the service uses: too few for a training to outgrow its worker's parent
ENOUGH = 1_000_000_000


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    with control_group("memory") as made:
        yield made


@pytest.fixture
def service(group: ControlGroup, tmp_path: Path) -> Iterator[Service]:
    """Start `mldeploy up` with all its processes in the control group."""
    with group.joined():
        started = Service(tmp_path / "home", estimators="tests.glutton.Glutton")
    try:
        Client(started.url).predict(FLOWER).wait(60)
        yield started
    finally:
        started.stop()


@contextmanager
def predictions(client: Client) -> Iterator[list[float]]:
    """Predict one row after another during the block. Returns the seconds of each."""
    latencies, over = list[float](), threading.Event()

    def predict_on() -> None:
        while not over.is_set():
            latencies.append(until(lambda: client.predict(FLOWER).wait(5)["prediction"] == "setosa", 5, "it is answered"))

    asking = threading.Thread(target=predict_on)
    asking.start()
    try:
        yield latencies
    finally:
        over.set()
        asking.join()


def has_settled(service: Service) -> bool:
    """Return whether every process is older than two seconds: when a service starts, some live for a moment."""
    return all(time.time() - process.create_time() > 2 for process in service.family())


def pids(service: Service) -> set[int]:
    """Return the process ids of all parts but those that train."""
    trainers = {child.pid for child in service.children()["train"].children()}
    return {process.pid for process in service.family()} - trainers


def test_training_out_of_memory_fails_with_that_reason_and_nothing_else_dies(
    service: Service, group: ControlGroup, figures: list[str]
) -> None:
    until(lambda: has_settled(service), 15, "all its processes have started")
    client, before, used = Client(service.url), pids(service), int(group.read("memory.usage_in_bytes"))
    group.write("memory.limit_in_bytes", used + ROOM)
    with predictions(client) as latencies:
        training = client.train(estimator="Glutton", promote="never")
        with pytest.raises(JobFailed) as failed:
            training.wait(120)
    assert failed.value.type == "urn:problem-type:mldeploy:out-of-memory"
    assert "for want of memory" in failed.value.detail
    if "grown" in failed.value.detail:  # unless it grew faster than its parent samples it
        assert f"of the {(used + ROOM) / 1e9:.2f} GB there are" in failed.value.detail
    assert "fewer rows" in failed.value.detail
    assert training.answer["attempts"] == service.settings.max_deaths
    assert int(group.read("memory.oom_control").split()[-1]) >= service.settings.max_deaths
    assert pids(service) == before
    group.write("memory.limit_in_bytes", used + ENOUGH)
    assert client.train(promote="never").wait(60)["metrics"]
    figures.append(f"{failed.value.detail} {len(latencies)} predictions meanwhile, the slowest took {max(latencies):.2f} s")


def test_when_memory_runs_out_trainings_are_killed_first_and_redis_and_up_last(tmp_path: Path) -> None:
    """Compare the scores by which the kernel chooses."""
    service = Service(tmp_path / "home")
    try:
        until(lambda: are_in_order(scores_of(service)), 20, "a process that has just been forked has raised its score")
        assert scores_of(service)[0] == {score_of("self")}
    finally:
        service.stop()


def scores_of(service: Service) -> list[set[int]]:
    """Return the scores of `up` and Redis, of the other parts, of those that predict, and of those that train."""
    parts = service.children()
    assert set(parts) == set(NAMES)
    trainers, predictors = parts["train"].children(), parts["predict"].children()
    last = [service.popen.pid, parts.pop("redis").pid]
    rest = {process.pid for process in service.family()} - {process.pid for process in trainers + predictors} - {last[1]}
    groups = [last, rest, [process.pid for process in predictors], [process.pid for process in trainers]]
    return [{score_of(pid) for pid in processes} for processes in groups]


def are_in_order(scores: list[set[int]]) -> bool:
    return all(max(lower) < min(higher) for lower, higher in pairwise(scores))


def score_of(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
