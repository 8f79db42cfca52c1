"""Twice the capacity is submitted: the excess is refused with Retry-After, and memory is bounded."""

import time
from collections import Counter
from collections.abc import Callable
from typing import cast

import psutil

from tests.faults.load import Load, settle
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]

JOB_SECONDS = 0.02
WORKERS = 2
CAPACITY = WORKERS / JOB_SECONDS  # jobs a second; what a job costs beyond makes it less
LANE_JOBS = 300
KEEP = 60.0  # seconds
PACE = 0.5  # seconds between two samples of memory
MAX_GROWTH = 60_000_000  # bytes of one process, from the first quarter of the time to the last


def memory(pieces: Pieces) -> dict[str, int]:
    """Return the bytes of Redis's data and the resident bytes of each part with its children."""
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
    """Return the growth from the maximum of the second quarter to that of the last, in bytes."""
    quarter = len(samples) // 4
    return max(each[part] for each in samples[-quarter:]) - max(each[part] for each in samples[quarter : 2 * quarter])


def sampled(pieces: Pieces, seconds: float) -> list[dict[str, int]]:
    samples, end = list[dict[str, int]](), time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(memory(pieces))
        time.sleep(PACE)  # the pace of the samples
    return samples


def test_submissions_beyond_capacity_are_refused_and_memory_is_bounded(
    assemble: Assemble, chaos: bool, figures: list[str]
) -> None:
    seconds = 600.0 if chaos else 12.0
    pieces = assemble(predict_workers=WORKERS, lane_jobs=LANE_JOBS, keep=KEEP)
    pieces.worker()
    clients = Submitters(pieces.url, 2 * CAPACITY, clients=8, patience=0.0, job_seconds=JOB_SECONDS)
    with PushCounter(pieces.ledger) as pushes:
        with clients:
            samples = sampled(pieces, seconds)
            waiting = pieces.ledger.waiting("predict.small")
        until(lambda: pushes.counts.total() >= len(clients.jobs), 30, "all have ended")
    took = settle(Load(pieces.url, accepted=clients.jobs[-LANE_JOBS:]), within=30)  # earlier ones are forgotten meanwhile
    grown = {part: growth(samples, part) for part in samples[0]}
    figures.append(
        f"overload: {seconds:g} s at {2 * CAPACITY:g} jobs/s with a capacity of {CAPACITY:g}: {len(clients.jobs)} accepted, "
        f"answers {dict(clients.answers)}, ended {dict(pushes.states)}, {waiting} waited at the end, "
        f"the last settled after {took:.1f} s; growth in the second half: "
        f"{', '.join(f'{part} {grown[part] / 1e6:+.1f} MB' for part in grown)}"
    )
    refused = clients.answers["429"] + clients.answers["503"]
    assert refused > len(clients.log) / 5
    assert refused + clients.answers["202"] == clients.answers.total()
    assert pushes.counts == Counter(job.job_id for job in clients.jobs)
    assert pushes.states == {"succeeded": len(clients.jobs)}
    assert waiting <= LANE_JOBS
    assert max(grown.values()) < MAX_GROWTH
