"""A worker is killed in the middle of a batch of 10,000 rows."""

import random
import time
from collections.abc import Callable
from typing import Any

import requests

from tests.faults.load import Announcements, executed, read
from tests.poison import expected, row
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]

ROWS = 10_000
APART = 10_007  # between the numbers of batches: rows of another batch would have other answers
ROW_SECONDS = 0.0001  # a batch takes about two seconds


def submit(pieces: Pieces, batch: int) -> str:
    rows = [row(number, seconds=ROW_SECONDS) for number in numbers_of(batch)]
    answer = requests.post(f"{pieces.url}/predict?model=poison", json=rows, timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def numbers_of(batch: int) -> range:
    return range(1 + batch * APART, 1 + batch * APART + ROWS)


def kill_in_the_middle(pieces: Pieces, group: Running, batch: int, whole_group: bool) -> Running:
    """Kill the process that executes this batch, or its whole group."""
    until(lambda: executed(pieces)[numbers_of(batch)[0]] > 0, 30, "the batch is in hand")
    time.sleep(random.uniform(0, 1))  # of about two seconds
    if whole_group:
        group.kill()
        return pieces.worker(name=group.name)
    group.family[1].kill()
    return group


def ended(pieces: Pieces, job_id: str) -> tuple[str, dict[str, Any]]:
    until(lambda: read(pieces.url, job_id)[1]["status"] not in ("queued", "running"), 60, "the batch has ended")
    return read(pieces.url, job_id)


def test_worker_killed_in_a_batch_loses_and_mixes_no_row(assemble: Assemble, chaos: bool, figures: list[str]) -> None:
    """No row is missing, and none belongs to another batch."""
    pieces, batches = assemble(predict_workers=1), 20 if chaos else 3
    group, jobs, bodies, attempts = pieces.worker(), dict[int, str](), dict[str, str](), list[int]()
    announced = Announcements(pieces.ledger)
    for batch in range(batches):
        jobs[batch] = submit(pieces, batch)
        group = kill_in_the_middle(pieces, group, batch, whole_group=batch % 2 == 1)
    for batch, job_id in jobs.items():
        bodies[job_id], body = ended(pieces, job_id)
        assert body["status"] == "succeeded", body["error"]
        assert [each["prediction"] for each in body["result"]["predictions"]] == [expected(n) for n in numbers_of(batch)]
        attempts.append(body["attempts"])
    assert {job_id: read(pieces.url, job_id)[0] for job_id in jobs.values()} == bodies
    counts = announced.drain()
    announced.close()
    assert {counts[job_id] for job_id in jobs.values()} == {1}
    hit = sum(count > 1 for count in attempts)
    figures.append(
        f"{batches} batches of {ROWS:,} rows, {hit} kills in the middle of one, at most {max(attempts)} attempts; "
        "no row missing or of another batch"
    )
    assert hit >= batches * 2 / 3
