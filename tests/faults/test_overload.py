"""L2: twice as many submissions as can be done: what is beyond is refused with Retry-After, and memory is bounded."""

import time
from collections.abc import Callable
from typing import cast

import psutil

from tests.faults.load import Load, settle
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]

JOB_SECONDS = 0.02
WORKERS = 2
CAPACITY = WORKERS / JOB_SECONDS  # jobs a second; what a job costs beyond makes it less
LANE_JOBS = 300
PACE = 0.5  # seconds between two looks at memory
MAX_GROWTH = 60_000_000  # bytes of one process, from the first quarter of the time to the last


def memory(pieces: Pieces) -> dict[str, int]:
    """Bytes that Redis uses for data, and that each part holds resident, its children included."""
    used = {"data": int(cast("dict[str, int]", pieces.ledger.redis.info("memory"))["used_memory"])}
    for running in pieces._running:
        family = [process for process in running.family if process.is_running()]
        used[running.name] = sum(rss(process) for process in family)
    return used


def rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def growth(samples: list[dict[str, int]], part: str) -> int:
    """From the most of the second quarter to the most of the last, in bytes."""
    quarter = len(samples) // 4
    return max(each[part] for each in samples[-quarter:]) - max(each[part] for each in samples[quarter : 2 * quarter])


def test_l2_twice_the_capacity(assemble: Assemble, chaos: bool, tell: list[str]) -> None:
    seconds, samples = 600.0 if chaos else 15.0, list[dict[str, int]]()
    pieces = assemble(predict_workers=WORKERS, lane_jobs=LANE_JOBS, keep=60.0 if chaos else 600.0)
    pieces.worker()
    clients = Submitters(pieces.url, 2 * CAPACITY, clients=8, patience=0.0, job_seconds=JOB_SECONDS)
    since = time.monotonic()
    with clients:
        while time.monotonic() - since < seconds:
            samples.append(memory(pieces))
            time.sleep(PACE)  # the pace of the samples
    most_waiting = pieces.ledger.waiting("predict.small")
    recent = [job for job in clients.jobs if pieces.ledger.get(job.job_id)]
    took = settle(Load(pieces.url, accepted=recent), within=30)
    until(lambda: not pieces.ledger.waiting("predict.small"), 30, "nothing waits")
    grown = {part: growth(samples, part) for part in samples[0]}
    tell.append(
        f"L2: {seconds:g} s at {2 * CAPACITY:g} jobs/s with a capacity of {CAPACITY:g}: {len(clients.jobs)} accepted, answers "
        f"{dict(clients.answers)}, 0 lost, {most_waiting} waited at the end, settled after {took:.1f} s; growth in the second half: "
        f"{', '.join(f'{part} {grown[part] / 1e6:+.1f} MB' for part in grown)}"
    )
    refused = clients.answers["429"] + clients.answers["503"]
    assert refused > len(clients.log) / 5
    assert refused + clients.answers["202"] == clients.answers.total()
    assert most_waiting <= LANE_JOBS
    assert max(grown.values()) < MAX_GROWTH
    if not chaos:  # later all but the last minute is forgotten
        assert len(recent) == len(clients.jobs)
        assert_one_job_each(pieces.url, clients)
