"""F1, F5, F6, F7 and F17 of the faults to survive, at the size of a test run, longer with --chaos; and the control arm."""

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
Tell = list[str]


def visible_once(announced: Announcements, load: Load) -> None:
    counts = announced.drain()
    twice = {job_id: count for job_id, count in counts.items() if count > 1}
    assert not twice
    announced.close()
    assert {job.job_id for job in load.accepted} <= set(counts)


def executions(pieces: Pieces) -> int:
    return len((pieces.folder / "poison-executions.log").read_text().split())


def test_f1_worker_groups_killed_in_turn(assemble: Assemble, chaos: bool, tell: Tell) -> None:
    """Recovered within lease + 5 s, and no innocent job fails."""
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
    tell.append(
        f"F1: {len(load.accepted)} accepted, 0 lost, settled {took:.1f} s after the load "
        f"(lease {pieces.settings.lease:g} s), {executions(pieces)} executions"
    )


def running(pieces: Pieces) -> bool:
    return bool(pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"))


def test_f5_a_frozen_listening_worker_takes_the_knock_to_its_grave(assemble: Assemble, chaos: bool, tell: Tell) -> None:
    pieces = assemble()
    load, times = Load(pieces.url), []
    for _ in range(50 if chaos else 2):
        freeze_publish_kill(pieces, load)
        since = time.monotonic()
        worker = pieces.worker()
        settle(load, within=20)
        times.append(time.monotonic() - since)
        worker.kill()
    lost = f"{len(load.accepted)} knocks lost with their worker, 0 jobs lost"
    tell.append(f"F5: {lost}, ended within {max(times):.1f} s of the next worker's start")


def freeze_publish_kill(pieces: Pieces, load: Load) -> None:
    worker = pieces.worker()
    before = len(load.accepted)
    worker.signal_all(signal.SIGSTOP)
    load.submit()
    assert len(load.accepted) == before + 1
    worker.kill()


def test_without_recovery_jobs_never_end(assemble: Assemble, tell: Tell) -> None:
    """The control arm: no reconciler. A fault test that cannot fail proves nothing."""
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
    tell.append(
        f"control arm: {stuck} of {len(states)} jobs had not ended {pieces.settings.lease + 5:g} s later, without the reconciler"
    )
    assert stuck >= 1
    pieces.reconciler()
    settle(load, within=pieces.settings.lease + 10)


def test_f6_redis_killed(assemble: Assemble, chaos: bool, tell: Tell) -> None:
    """Consuming again within 15 s."""
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
    tell.append(
        f"F6: {len(load.accepted)} accepted, {dict(load.refused)} refused, 0 lost; "
        f"consuming again after {max(times):.1f} s at most, settled after {took:.1f} s"
    )


def redis_of(pieces: Pieces) -> Running:
    return next(running for running in pieces._running if running.name == "redis")


def alive(pieces: Pieces, workers: list[Running]) -> bool:
    """Start again what has exited, as supervision does."""
    for place, worker in enumerate(workers):
        if worker.popen.poll() is not None:
            workers[place] = pieces.worker(name=worker.name)
    return True


def test_f7_redis_frozen(assemble: Assemble, chaos: bool, tell: Tell) -> None:
    """Every request that needs Redis is a 503 with Retry-After within 3 s, and no lease is lost to the outage."""
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
    tell.append(
        f"F7: {len(load.accepted)} accepted, {dict(load.refused)} refused, 0 lost; slowest answer while frozen "
        f"{max(seconds for _, seconds in answers):.1f} s, {sum(count > 1 for count in attempts)} jobs done more than once, "
        f"settled after {took:.1f} s"
    )
    assert max(attempts) == 1


def refusals(pieces: Pieces) -> list[tuple[int, float]]:
    """Must show 6: every route that needs Redis, asked once: status and seconds."""
    job = f"/result/{pieces.ledger.new_id()}"  # not of one that has just ended: that is remembered, and told all the same
    asked = [
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
    told = []
    for method, path, body in asked:
        since = time.monotonic()
        answer = requests.request(method, pieces.url + path, json=body, timeout=20)
        told.append((answer.status_code, time.monotonic() - since))
        assert answer.headers.get("Retry-After"), (method, path, answer.text)
    assert requests.get(pieces.url + "/health/live", timeout=5).status_code == 200
    return told


@pytest.mark.parametrize("deeds", [("kill", "segfault", "memory", "exit")])
def test_f17_poison_among_innocents(assemble: Assemble, chaos: bool, tell: Tell, deeds: tuple[str, ...]) -> None:
    """Each poison job fails after at most three deaths of its own; every neighbour is done."""
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
    tell.append(
        f"F17: {poison} poison among {many}: each failed after at most {max(deaths)} starts, "
        f"{many - poison} innocents done, in {took:.1f} s"
    )
