"""F19 of the faults to survive: every part is restarted by SIGTERM in turn, again and again, under load."""

import time
from collections import Counter
from collections.abc import Callable

from tests.faults.load import Load, executed, settle
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]

RATE = 30.0
EXITS_WITHIN = 40.0  # seconds


def restart(pieces: Pieces, part: Running) -> tuple[float, Running]:
    """The seconds that it took to exit, and its successor."""
    since = time.monotonic()
    assert part.terminate(EXITS_WITHIN) == 0
    seconds = time.monotonic() - since
    again = {"api": pieces.api, "reconciler": pieces.reconciler}.get(part.name, lambda: pieces.worker(name=part.name))
    return seconds, again()


def test_f19_a_rolling_restart_under_load(assemble: Assemble, chaos: bool, tell: list[str]) -> None:
    """No attempt is burnt: each job is executed once."""
    pieces, rounds = assemble(), 20 if chaos else 1
    parts = {running.name: running for running in pieces._running if running.name in ("api", "reconciler")}
    parts |= {group.name: group for group in pieces.groups("A", "B")}
    exits = dict.fromkeys(parts, 0.0)
    clients = Submitters(pieces.url, RATE, clients=16, job_seconds=0.05)
    with PushCounter(pieces.ledger) as pushes, clients:
        for _ in range(rounds):
            for name in ("A", "B", "reconciler", "api"):
                done = executed(pieces).total()
                until(lambda: executed(pieces).total() > done + RATE, 30, "jobs are done")  # noqa: B023
                seconds, parts[name] = restart(pieces, parts[name])
                exits[name] = max(exits[name], seconds)
    took = settle(Load(pieces.url, accepted=clients.jobs), within=30)
    records = [record for record in pieces.ledger.get_many([job.job_id for job in clients.jobs]) if record]
    attempts, runs = Counter(record.attempts for record in records), Counter(executed(pieces).values())
    tell.append(
        f"F19: {rounds} rolling restarts of {len(parts)} parts; {len(clients.jobs)} accepted, answers {dict(clients.answers)}, "
        f"0 lost, attempts {dict(attempts)}; exits within {', '.join(f'{name} {most:.1f} s' for name, most in exits.items())}; "
        f"settled after {took:.1f} s"
    )
    assert set(attempts) == {1}
    assert set(runs) == {1}
    assert not pushes.twice
    assert_one_job_each(pieces.url, clients)
