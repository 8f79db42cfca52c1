"""A burst of submissions, and a backlog accepted without workers: all jobs are done, and few wake-ups are sent."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import requests

from settings import Settings
from tests.faults.submitters import Submitters
from tests.poison import expected
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]

CLIENTS = 16
AT_ONCE = 100  # ids in one request
SLOWEST_P99 = 0.1  # seconds
PROBE_EVERY = 0.02  # seconds


def wakeups(broker: Pieces) -> int:
    """Return the number of messages sent to workers; the broker carries nothing else."""
    stats = cast("dict[str, dict[str, int]]", broker.ledger.redis.info("commandstats"))
    return stats.get("cmdstat_lpush", {"calls": 0})["calls"]


def submit(pieces: Pieces, many: int, first: int = 1) -> Submitters:
    """Submit as fast as the clients can."""
    clients = Submitters(pieces.url, rate=1e6, clients=CLIENTS, limit=many, first=first, patience=60)
    with clients:
        clients.join()
    assert len(clients.jobs) == many
    return clients


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def read_all(pieces: Pieces, clients: Submitters) -> int:
    """Compare each result with the oracle once all jobs have ended. Returns how many have."""
    session, jobs, ended = requests.Session(), clients.jobs, 0
    for start in range(0, len(jobs), AT_ONCE):
        part = {job.job_id: job for job in jobs[start : start + AT_ONCE]}
        answer = session.get(f"{pieces.url}/jobs", params={"id": ",".join(part)}, timeout=30).json()
        assert not answer["forgotten"]
        for body in answer["jobs"]:
            if body["status"] != "queued" and body["status"] != "running":
                assert body["status"] == "succeeded", body
                assert body["result"]["prediction"] == expected(part[body["id"]].number)
                ended += 1
    return ended


def waiting(pieces: Pieces) -> int:
    return pieces.ledger.waiting("predict.small")


def probe(pieces: Pieces, job_id: str, within: float) -> list[float]:
    """Read this job again and again until nothing waits. Returns the seconds of each read."""
    session, seconds, end = requests.Session(), list[float](), time.monotonic() + within
    while waiting(pieces):
        since = time.monotonic()
        assert since < end, f"{waiting(pieces)} jobs still wait after {within:g} s"
        assert session.get(f"{pieces.url}/result/{job_id}", timeout=10).status_code in (200, 202)
        seconds.append(time.monotonic() - since)
        time.sleep(PROBE_EVERY)
    return seconds


def test_burst_and_backlog_are_all_done(assemble: Assemble, chaos: bool, figures: list[str], tmp_path: Path) -> None:
    broker = Pieces(Settings(), tmp_path / "broker")
    broker.redis()
    try:
        pieces = assemble(broker_url=broker.settings.broker)
        pieces.worker()
        burst, backlog = (10_000, 100_000) if chaos else (1_000, 2_000)
        since = time.monotonic()
        clients = submit(pieces, burst)
        accepted = time.monotonic() - since
        until(lambda: waiting(pieces) == 0, 60, "the burst is done")
        until(lambda: read_all(pieces, clients) == burst, 30, "all have ended")
        sent, slow = wakeups(broker), p99([each.seconds for each in clients.log])
        figures.append(
            f"burst: {burst:,} accepted in {accepted:.1f} s by {CLIENTS} clients, p99 {1000 * slow:.0f} ms, 0 lost; "
            f"{sent} wake-ups ({sent / burst:.2%})"
        )
        assert sent <= max(20, burst / 100)
        assert slow < (5 * SLOWEST_P99 if chaos else 5)
        work_off(pieces, broker, backlog, figures, chaos)
    finally:
        broker.stop()


def work_off(pieces: Pieces, broker: Pieces, backlog: int, figures: list[str], chaos: bool) -> None:
    """Start a worker for a backlog that was accepted without one."""
    next(running for running in pieces._running if running.name == "predict").terminate()
    before = wakeups(broker)
    clients = submit(pieces, backlog, first=1_000_000)
    assert waiting(pieces) == backlog
    pieces.worker()
    since = time.monotonic()
    slow = p99(probe(pieces, clients.jobs[-1].job_id, within=30 + backlog / 300))
    took = time.monotonic() - since
    until(lambda: read_all(pieces, clients) == backlog, 60, "all have ended")
    sent = wakeups(broker) - before
    accepting = p99([each.seconds for each in clients.log])
    figures.append(
        f"backlog: {backlog:,} accepted (p99 {1000 * accepting:.0f} ms), done {took:.1f} s after a worker was started, "
        f"{backlog / took:.0f} a second, 0 lost; API p99 meanwhile {1000 * slow:.0f} ms; {sent} wake-ups ({sent / backlog:.2%})"
    )
    assert sent <= max(20, backlog / 100)
    assert slow < (5 * SLOWEST_P99 if chaos else 5)
