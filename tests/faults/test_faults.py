"""Workers and Redis are killed and frozen, and jobs kill their workers; longer with --chaos. Includes the control arm."""

import signal
import time
from collections.abc import Callable

import pytest
import requests

from jobs.job import State
from tests.faults.load import SLOWEST_REFUSAL, Announcements, Load, settle
from tests.poison import row
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]
Figures = list[str]


def visible_once(announced: Announcements, load: Load) -> None:
    counts = announced.drain()
    twice = {job_id: count for job_id, count in counts.items() if count > 1}
    assert not twice
    announced.close()
    assert {job.job_id for job in load.accepted} <= set(counts)


def executions(pieces: Pieces) -> int:
    return len((pieces.folder / "poison-executions.log").read_text().split())


def test_worker_groups_killed_in_turn_lose_no_job(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Jobs recover within the lease + 5 s, and no innocent job fails."""
    pieces = assemble()
    groups = [pieces.worker(name="A"), pieces.worker(name="B")]
    announced = Announcements(pieces.ledger)
    with Load(pieces.url, seconds=0.02).backlog(400) as load:
        for turn in range(20 if chaos else 3):
            until(lambda: running(pieces), 20, "work is in hand")
            groups[turn % 2].kill()
            groups[turn % 2] = pieces.worker(name="AB"[turn % 2])
    took = settle(load, within=pieces.settings.lease + 5)
    visible_once(announced, load)
    figures.append(
        f"killed workers: {len(load.accepted)} accepted, 0 lost, settled {took:.1f} s after the load "
        f"(lease {pieces.settings.lease:g} s), {executions(pieces)} executions"
    )


def running(pieces: Pieces) -> bool:
    return bool(pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"))


def test_job_survives_a_killed_worker_that_took_its_wakeup(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    pieces = assemble()
    load, times = Load(pieces.url), []
    for _ in range(50 if chaos else 2):
        freeze_publish_kill(pieces, load)
        since = time.monotonic()
        worker = pieces.worker()
        settle(load, within=20)
        times.append(time.monotonic() - since)
        worker.kill()
    lost = f"{len(load.accepted)} wake-ups lost with their worker, 0 jobs lost"
    figures.append(f"{lost}, ended within {max(times):.1f} s of the next worker's start")


def freeze_publish_kill(pieces: Pieces, load: Load) -> None:
    worker = pieces.worker()
    before = len(load.accepted)
    worker.signal_all(signal.SIGSTOP)
    load.submit()
    assert len(load.accepted) == before + 1
    worker.kill()


def test_without_the_reconciler_jobs_never_end(assemble: Assemble, figures: Figures) -> None:
    """This is the control arm: it shows that the tests of this file can fail."""
    pieces = assemble(reconciler=False)
    load = Load(pieces.url, seconds=0.2)
    worker = pieces.worker()
    for _ in range(5):
        load.submit()
    until(lambda: running(pieces), 20, "work is in hand")
    worker.kill()
    freeze_publish_kill(pieces, load)
    pieces.worker()
    time.sleep(pieces.settings.lease + 5)  # as long as recovery may take where it is on
    states = [record.state for record in pieces.ledger.get_many([job.job_id for job in load.accepted]) if record]
    stuck = sum(not state.final for state in states)
    figures.append(
        f"control arm: {stuck} of {len(states)} jobs had not ended {pieces.settings.lease + 5:g} s later, without the reconciler"
    )
    assert stuck >= 1
    pieces.reconciler()
    settle(load, within=pieces.settings.lease + 10)


def test_killed_redis_loses_no_job(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Jobs are done again within 15 s after Redis is back."""
    pieces = assemble()
    redis = redis_of(pieces)
    workers = [pieces.worker(name="A"), pieces.worker(name="B")]
    times = []
    with Load(pieces.url, seconds=0.01).backlog(400) as load:
        for _ in range(50 if chaos else 2):
            until(lambda: running(pieces), 20, "work is in hand")
            redis.kill()
            time.sleep(2)  # down for this long
            redis = pieces.redis()
            since, before = time.monotonic(), executions(pieces)
            until(lambda: alive(pieces, workers) and executions(pieces) > before, 15, "consuming again")  # noqa: B023
            times.append(time.monotonic() - since)
    took = settle(load, within=20)
    assert load.slowest < SLOWEST_REFUSAL
    figures.append(
        f"killed Redis: {len(load.accepted)} accepted, {dict(load.refused)} refused, 0 lost; "
        f"consuming again after {max(times):.1f} s at most, settled after {took:.1f} s"
    )


def redis_of(pieces: Pieces) -> Running:
    return next(running for running in pieces._running if running.name == "redis")


def alive(pieces: Pieces, workers: list[Running]) -> bool:
    """Start the workers that have exited again, as supervision does."""
    for place, worker in enumerate(workers):
        if worker.popen.poll() is not None:
            workers[place] = pieces.worker(name=worker.name)
    return True


def test_frozen_redis_gives_503_and_loses_no_lease(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Every request that needs Redis gets a 503 with Retry-After within 3 s, and no lease is lost."""
    pieces = assemble()
    assert pieces.ledger.secret  # read while Redis answers
    redis = redis_of(pieces)
    workers = [pieces.worker(name="A"), pieces.worker(name="B")]
    frozen, times = (30.0, 10) if chaos else (8.0, 1)
    answers: list[tuple[int, float]] = []
    with Load(pieces.url, seconds=0.02).backlog(300) as load:
        for _ in range(times):
            until(lambda: running(pieces), 20, "work is in hand")
            redis.signal_all(signal.SIGSTOP)
            end = time.monotonic() + frozen
            while time.monotonic() < end:
                answers += refusals(pieces)
            redis.signal_all(signal.SIGCONT)
            before = len(load.accepted)
            until(lambda: alive(pieces, workers) and len(load.accepted) > before + 10, 20, "jobs are accepted again")  # noqa: B023
    took = settle(load, within=30)
    assert load.slowest < SLOWEST_REFUSAL
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < SLOWEST_REFUSAL
    attempts = [record.attempts for record in pieces.ledger.get_many([job.job_id for job in load.accepted]) if record]
    figures.append(
        f"frozen Redis: {len(load.accepted)} accepted, {dict(load.refused)} refused, 0 lost; slowest answer while frozen "
        f"{max(seconds for _, seconds in answers):.1f} s, {sum(count > 1 for count in attempts)} jobs done more than once, "
        f"settled after {took:.1f} s"
    )
    assert max(attempts) == 1


def refusals(pieces: Pieces) -> list[tuple[int, float]]:
    """Call every route that needs Redis once. Returns each status and its seconds."""
    job = f"/result/{pieces.ledger.new_id()}"  # a job that has just ended would be answered from memory
    calls = [
        ("POST", "/predict?model=poison", row(0)),
        ("POST", "/predict", {"sepal_length": 5, "sepal_width": 3, "petal_length": 1, "petal_width": 0.2}),
        ("POST", "/train", {}),
        ("GET", job, None),
        ("GET", f"{job}?wait=1", None),
        ("DELETE", job, None),
        ("GET", "/models", None),
        ("GET", "/models/iris", None),
        ("GET", "/health/ready", None),
    ]
    answers = []
    for method, path, body in calls:
        since = time.monotonic()
        answer = requests.request(method, pieces.url + path, json=body, timeout=20)
        answers.append((answer.status_code, time.monotonic() - since))
        assert answer.headers.get("Retry-After"), (method, path, answer.text)
    assert requests.get(pieces.url + "/health/live", timeout=5).status_code == 200
    return answers


@pytest.mark.parametrize("deeds", [("kill", "segfault", "memory", "exit")])
def test_poison_jobs_fail_alone(assemble: Assemble, chaos: bool, figures: Figures, deeds: tuple[str, ...]) -> None:
    """Each poison job fails after at most three deaths of its own, and every other job is done."""
    pieces = assemble()
    many, poison = (1000, 20) if chaos else (500, 4)
    numbers = {10 + place * (many // poison): deeds[place % len(deeds)] for place in range(poison)}
    load = Load(pieces.url, deeds=numbers)
    announced = Announcements(pieces.ledger)
    load.backlog(many)
    pieces.worker()
    took = settle(load, within=120 if not chaos else 600, poisoned=True)
    visible_once(announced, load)
    records = {job.number: pieces.ledger.get(job.job_id) for job in load.accepted}
    failed = {number for number, record in records.items() if record and record.state is State.FAILED}
    assert failed == set(numbers) & set(records)  # one may have been refused with 503
    assert failed
    deaths = [record.attempts for number, record in records.items() if record and number in failed]
    assert max(deaths) <= 1 + 1 + pieces.settings.max_deaths  # in company at most twice, then alone
    figures.append(
        f"{poison} poison jobs among {many}: each failed after at most {max(deaths)} starts, "
        f"{many - poison} innocents done, in {took:.1f} s"
    )
