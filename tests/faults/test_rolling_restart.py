"""Every part is restarted by SIGTERM in turn, again and again, under load."""

import time
from collections import Counter
from collections.abc import Callable

from jobs.job import Record, State
from mldeploy.client import Client
from tests.faults.load import Load, executed, settle
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.poison import row
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]

RATE = 30.0
DRAIN = 1.0  # seconds
LONG = 4.0  # seconds of a job that is released
FIRST_LONG = 900_000
EXITS_WITHIN = 40.0  # seconds


def restart(pieces: Pieces, part: Running) -> tuple[float, Running]:
    """Restart a part. Returns the seconds until it exited, and its successor."""
    since = time.monotonic()
    assert part.terminate(EXITS_WITHIN) == 0
    seconds = time.monotonic() - since
    again = {"api": pieces.api, "reconciler": pieces.reconciler}.get(part.name, lambda: pieces.worker(name=part.name))
    return seconds, again()


def begin_long_job(pieces: Pieces, number: int) -> Record:
    """Submit a job that takes longer than the drain, and wait until it runs."""
    job = Client(pieces.url).predict(row(number, seconds=LONG), model="poison")
    until(lambda: job.reload().status == "running", 20, "the long job runs")
    record = pieces.ledger.get(job.id)
    assert record is not None
    return record


def test_rolling_restart_under_load_loses_no_job(assemble: Assemble, chaos: bool, figures: list[str]) -> None:
    """No attempt is counted: a job longer than the drain is released and done by another worker, all others run once."""
    pieces, rounds = assemble(drain=DRAIN), 20 if chaos else 1
    parts = {running.name: running for running in pieces._running if running.name in ("api", "reconciler")}
    parts |= {group.name: group for group in pieces.groups("A", "B")}
    exits, long_jobs = dict.fromkeys(parts, 0.0), list[Record]()
    clients = Submitters(pieces.url, RATE, clients=16, job_seconds=0.02)
    with PushCounter(pieces.ledger) as pushes, clients:
        for _ in range(rounds):
            for _ in "AB":
                long_jobs.append(begin_long_job(pieces, FIRST_LONG + len(long_jobs)))
                holder = next(name for name in "AB" if f"-{parts[name].popen.pid}-" in (long_jobs[-1].worker or ""))
                seconds, parts[holder] = restart(pieces, parts[holder])
                exits[holder] = max(exits[holder], seconds)
            for name in ("reconciler", "api"):
                seconds, parts[name] = restart(pieces, parts[name])
                exits[name] = max(exits[name], seconds)
    took = settle(Load(pieces.url, accepted=clients.jobs), within=30)
    until(lambda: all(state is State.SUCCEEDED for state in states(pieces, long_jobs)), 30, "the long jobs are done")
    ids = [job.job_id for job in clients.jobs] + [job.id for job in long_jobs]
    attempts = Counter(record.attempts for record in pieces.ledger.get_many(ids) if record)
    runs = executed(pieces)
    released = sum(runs[number] > 1 for number in range(FIRST_LONG, FIRST_LONG + len(long_jobs)))
    figures.append(
        f"{rounds} rolling restarts of {len(parts)} parts; {len(clients.jobs)} accepted, answers {dict(clients.answers)}, "
        f"0 lost, attempts {dict(attempts)}, {released} long jobs released; exits within "
        f"{', '.join(f'{name} {most:.1f} s' for name, most in exits.items())}; settled after {took:.1f} s"
    )
    assert set(attempts) == {1}
    assert released >= len(long_jobs) / 2
    assert not pushes.twice
    assert_one_job_each(pieces.url, clients)


def states(pieces: Pieces, jobs: list[Record]) -> list[State]:
    return [record.state for record in pieces.ledger.get_many([job.id for job in jobs]) if record]
