"""DELETE /result/<id>: a queued job is canceled at once, a running one when it has stopped, and canceled is final."""

import os
import signal
import uuid
from typing import Any

import psutil
import pytest

from tests.callers import Caller, code
from tests.poison import expected, row
from tests.processes import until
from tests.service import Service
from tests.suspended import nobody_trains

POISON = "/predict?model=poison"
CSV = {"Content-Type": "text/csv"}
ROWS = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))


def state(caller: Caller, job: dict[str, Any]) -> str:
    return str(caller.get(job["result_url"]).json()["status"])


def until_it_runs(caller: Caller, job: dict[str, Any]) -> None:
    until(lambda: state(caller, job) == "running", 20, "it runs")


def check_canceled(caller: Caller, job: dict[str, Any]) -> dict[str, Any]:
    """Check that the job stays canceled and has no result. Returns its body."""
    body = caller.end_of(job)
    assert (body["status"], body["error"]["type"]) == ("canceled", "urn:problem-type:mldeploy:canceled")
    assert not {"result", "progress", "canceling"} & set(body)
    again = caller.delete(job["result_url"])
    assert (again.status_code, again.json()) == (200, body)
    return body


def check_replaced(service: Service, caller: Caller, job: dict[str, Any]) -> None:
    """Check that the process was ended for it and replaced."""
    worker, ledger = caller.get(job["result_url"]).json().get("worker"), service.ledger
    if not ledger.redis.exists(f"{ledger.prefix}stopped:{worker}"):
        return  # it was queued, or had ended by itself
    ended, train = int(worker.rpartition(":")[2]), service.children()["train"]
    until(lambda: ended not in (pids := {child.pid for child in train.children()}) and pids, 20, "another process trains")


@pytest.fixture
def name() -> str:
    return f"c{uuid.uuid4().hex[:8]}"


@pytest.fixture
def trainer(service: Service) -> int:
    """Return the parent of the training processes, of which the service has one."""
    train = service.children()["train"]
    until(lambda: len(train.children()) == 1, 20, "a process trains")
    return train.pid


def test_a_queued_job_is_canceled_at_once_and_those_behind_it_move_up(anybody: Caller, service: Service) -> None:
    with nobody_trains(service):
        jobs = [anybody.post("/train", json={"promote": "never"}).json() for _ in range(3)]
        before = [anybody.get(job["result_url"]).json()["position"] for job in jobs]
        answer = anybody.delete(jobs[1]["result_url"])
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
        assert "started_at" not in check_canceled(anybody, jobs[1])
        assert anybody.get(jobs[2]["result_url"]).json()["position"] == before[2] - 1
        for job in jobs[::2]:
            assert anybody.delete(job["result_url"]).status_code == 200


def test_a_running_prediction_is_canceled_when_it_ends_and_its_neighbours_are_not(anybody: Caller, service: Service) -> None:
    children = service.children()["predict"].children()
    for child in children[1:]:
        child.suspend()
    try:
        first = anybody.post(POISON, json=row(0, seconds=0.7)).json()
        jobs = [anybody.post(POISON, json=row(n, seconds=0.4)).json() for n in (1, 2, 3)]  # one claim, after the first
        for job in jobs:
            until_it_runs(anybody, job)
        answers = [anybody.delete(jobs[1]["result_url"]) for _ in range(2)]
    finally:
        for child in children[1:]:
            child.resume()
    assert [(each.status_code, each.json()["status"], each.json()["canceling"]) for each in answers] == [
        (202, "running", True)
    ] * 2
    assert all(each.headers["Location"] == jobs[1]["result_url"] for each in answers)
    assert int(answers[0].headers["Retry-After"]) >= 1
    check_canceled(anybody, jobs[1])
    assert [anybody.end_of(job)["result"]["prediction"] for job in (first, jobs[0], jobs[2])] == [expected(n) for n in (0, 1, 3)]


def test_a_running_prediction_whose_worker_dies_is_canceled_and_not_tried_again(anybody: Caller) -> None:
    job = anybody.post(POISON, json=row(4, seconds=20)).json()
    until_it_runs(anybody, job)
    assert anybody.delete(job["result_url"]).status_code == 202
    owner = anybody.get(job["result_url"]).json()["worker"]
    os.kill(int(owner.rpartition(":")[2]), signal.SIGKILL)
    assert check_canceled(anybody, job)["attempts"] == 1


def test_a_training_is_ended_with_its_process_and_another_trains_the_next(
    anybody: Caller, service: Service, trainer: int, name: str
) -> None:
    job = anybody.post(f"/train?model={name}&search=120&promote=always", data=ROWS, headers=CSV).json()
    behind = anybody.post(f"/train?model={name}-next", data=ROWS, headers=CSV).json()
    until_it_runs(anybody, job)
    (process,) = psutil.Process(trainer).children()
    assert anybody.delete(job["result_url"]).status_code in (200, 202)
    check_canceled(anybody, job)
    check_replaced(service, anybody, job)
    assert not process.is_running()
    assert anybody.end_of(behind)["status"] == "succeeded"
    assert service.children()["train"].pid == trainer
    model = anybody.get(f"/models/{name}").json()
    assert (model["aliases"], model["versions"], model["moves"]) == ({}, [], [])
    assert anybody.get(f"/datasets/{name}").status_code == 404


def test_a_training_canceled_at_any_moment_publishes_nothing_and_moves_no_alias(
    anybody: Caller, service: Service, name: str
) -> None:
    """The training is canceled, or it had ended before; its search leaves time to cancel."""
    canceled = 0
    for stage in ("read", "fit", "judge", "save", "load"):
        job = anybody.post(f"/train?model={name}&search=1&promote=always", data=ROWS, headers=CSV).json()
        with anybody.get(job["result_url"], headers={"Accept": "text/event-stream"}, stream=True) as stream:
            for line in stream.iter_lines(chunk_size=1):
                if f'"stage":"{stage}"'.encode() in line:
                    break
        answer = anybody.delete(job["result_url"])
        versions = {card["version"] for card in anybody.get(f"/models/{name}").json()["versions"]}
        if answer.status_code == 409:
            assert job["model"]["version"] in versions
            continue
        canceled += 1
        check_canceled(anybody, job)
        check_replaced(service, anybody, job)
        assert job["model"]["version"] not in {card["version"] for card in anybody.get(f"/models/{name}").json()["versions"]}
    assert canceled


def test_rows_that_wait_for_a_data_set_are_never_added(anybody: Caller, service: Service, name: str) -> None:
    with nobody_trains(service):
        kept, canceled = (anybody.post(f"/datasets/{name}", data=ROWS + line, headers=CSV).json() for line in ("", "90,9,low\n"))
        assert anybody.delete(canceled["result_url"]).status_code == 200
    assert anybody.end_of(kept)["status"] == "succeeded"
    check_canceled(anybody, canceled)
    assert anybody.get(f"/datasets/{name}").json()["rows"] == anybody.end_of(kept)["result"]["rows"]


def test_rows_that_are_being_added_are_not_when_that_is_canceled(anybody: Caller, service: Service, name: str) -> None:
    table = "a,b,level\n" + "".join(f"{n},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(300_000))
    job = anybody.post(f"/datasets/{name}", data=table, headers=CSV).json()
    until_it_runs(anybody, job)
    assert anybody.delete(job["result_url"]).status_code in (200, 202)
    check_canceled(anybody, job)
    check_replaced(service, anybody, job)
    assert anybody.get(f"/datasets/{name}").status_code == 404


def test_ended_job_cannot_be_canceled(anybody: Caller) -> None:
    done = anybody.post(POISON, json=row(1), headers={"Prefer": "wait=20"}).json()
    failed = anybody.post(POISON, json=row(1, "raise"), headers={"Prefer": "wait=20"}).json()
    for job in (done, failed):
        answer = anybody.delete(job["result_url"])
        assert (answer.status_code, code(answer)) == (409, "job-final")
        assert job["status"] in answer.json()["detail"]
        assert anybody.get(job["result_url"]).json() == job


def test_unknown_job_cannot_be_canceled(anybody: Caller, service: Service) -> None:
    assert code(anybody.delete("/result/" + "0" * 40)) == "unknown-job"
    gone = anybody.delete(f"/result/{service.ledger.new_id()}")
    assert (gone.status_code, code(gone)) == (410, "forgotten-job")
