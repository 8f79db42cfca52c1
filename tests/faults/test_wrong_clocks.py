"""The clocks of the workers and of the API are an hour off, in either direction."""

from datetime import UTC, datetime

import requests

from jobs.job import State
from mldeploy.client import Client
from tests.faults.load import Load, executed, settle
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.poison import publish, row
from tests.processes import Pieces, Running, until
from tests.server_clock import ServerClock

HOUR = 3600
EXPIRES_IN = 20  # seconds, of which few pass
SHORT = 2.0
RATE = 30.0
EXACT = 5.0  # seconds between the ledger's times and the true ones


def dated(pieces: Pieces, number: int, expires_in: float) -> str:
    answer = requests.post(f"{pieces.url}/predict?model=poison&expires_in={expires_in}", json=row(number), timeout=10)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def holds_lease(pieces: Pieces, group: Running) -> bool:
    return any(f"-{group.popen.pid}-" in owner for owner in pieces.ledger.live_owners("predict"))


def state_of(pieces: Pieces, job_id: str) -> State:
    record = pieces.ledger.get(job_id)
    assert record is not None
    return record.state


def seconds_off(pieces: Pieces, job_id: str) -> float:
    """Do a job. Returns how far its times are from the true ones at most."""
    body = requests.get(f"{pieces.url}/result/{job_id}", timeout=10).json()
    times = [datetime.fromisoformat(body[key]) for key in ("created_at", "started_at", "finished_at")]
    return max(abs((each - datetime.now(UTC)).total_seconds()) for each in times)


def test_clocks_an_hour_off_expire_nothing_early_or_late(stopped: Pieces, chaos: bool, figures: list[str]) -> None:
    """Leases keep their length, and all times are Redis's. Halfway the clocks are set two hours to the other side."""
    pieces, rounds = stopped, 20 if chaos else 2
    clock, other = ServerClock(pieces.folder), ServerClock(pieces.folder, "other")
    clock.set(HOUR)
    other.set(-HOUR)
    pieces.redis()
    publish(pieces)
    pieces.reconciler()
    pieces.api(clock.environment)
    clocks = {"A": clock.environment, "B": other.environment}
    groups = {name: pieces.worker(name=name, environment=clocks[name]) for name in clocks}
    dated_jobs, leases = list[str](), list[float]()
    clients = Submitters(pieces.url, RATE, job_seconds=0.02)
    with PushCounter(pieces.ledger) as pushes, clients:
        until(lambda: executed(pieces).total() > RATE, 20, "jobs are done")
        for number in range(rounds):
            if number == rounds // 2:
                clock.set(-HOUR)
                other.set(HOUR)
            name = "AB"[number % 2]
            dead = groups[name]
            dead.kill()
            dated_jobs.append(dated(pieces, 900_000 + number, EXPIRES_IN))
            leases.append(until(lambda: not holds_lease(pieces, dead), pieces.settings.lease + 5, "its lease is over"))  # noqa: B023
            groups[name] = pieces.worker(name=name, environment=clocks[name])
    took = settle(Load(pieces.url, accepted=clients.jobs), within=pieces.settings.lease + 10)
    last = Client(pieces.url).predict(row(1), model="poison")
    last.wait(20)
    off = seconds_off(pieces, last.id)
    for group in groups.values():
        group.kill()
    short = dated(pieces, 1, expires_in=SHORT)
    expired = until(lambda: state_of(pieces, short) is State.EXPIRED, 10, "it expires")
    states = [state_of(pieces, job_id) for job_id in dated_jobs]
    figures.append(
        f"clocks of the API and of two worker groups {HOUR} s off either way: {len(clients.jobs)} accepted, 0 lost; "
        f"{states.count(State.SUCCEEDED)} of {len(states)} jobs with a deadline done, one that nobody did expired after "
        f"{expired:.1f} of {SHORT:g} s; leases of the dead ended after {min(leases):.1f} to {max(leases):.1f} of "
        f"{pieces.settings.lease:g} s; settled after {took:.1f} s"
    )
    assert set(states) == {State.SUCCEEDED}
    assert SHORT - 0.2 < expired < SHORT + 2
    assert min(leases) > pieces.settings.lease / 2
    assert off < EXACT
    assert not pushes.twice
    assert assert_one_job_each(pieces.url, clients) == 0
