"""The whole service under load for a long time with repeated faults: no job is lost, doubled, changed or wrong."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from jobs.ledger import Ledger
from jobs.redis_connection import UNREACHABLE
from mldeploy.client import Client
from tests.faults import fault_rotation
from tests.faults.fault_rotation import FaultRotation
from tests.faults.job_lister import JobLister
from tests.faults.push_counter import PushCounter
from tests.faults.result_reader import ResultReader
from tests.faults.submitters import Submitters
from tests.poison import row, with_poison
from tests.processes import Running, server_path, until
from tests.server_clock import ServerClock
from tests.service import Service

JOB_SECONDS = 0.015
ENDS_WITHIN = 60.0  # seconds after the load
MAX_SLOPE = 500_000  # bytes a minute of Redis's data
ONE_OF_A_KIND = {b"mldeploy:2:bulk:predict"}  # from the first backlog on, and for good
NAMES = re.compile(rb"[0-9a-f]{40}|[^:]+-\d+-[0-9a-f]{6}:\d+")  # job ids and owners, in keys


def server_with_a_clock(folder: Path, clock: ServerClock) -> Path:
    """Return a folder for PATH whose valkey-server is the embedded one on a clock that can be set."""
    script = folder / "valkey-server"
    variables = " ".join(f"{name}='{value}'" for name, value in clock.environment.items())
    script.write_text(f"#!/bin/sh\n{variables} exec '{server_path()}' \"$@\"\n")
    script.chmod(0o755)
    return folder


@contextmanager
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: float) -> Iterator[tuple[Service, FaultRotation]]:
    """Start `mldeploy up` with the poison model and a second group of workers, as on another machine."""
    clock = ServerClock(tmp_path)
    monkeypatch.setenv("PATH", str(server_with_a_clock(tmp_path, clock)), prepend=":")
    service = Service(tmp_path / "home", keep=keep)
    settings = service.settings.replace(home=str(service.home)).with_embedded_redis()
    command = [sys.executable, "-m", "worker", "predict"]
    rotation = None
    try:
        with_poison(service)
        rotation = FaultRotation(service, clock, lambda: Running(command, settings, tmp_path, "second-group"))
        until(lambda: len(service.ledger.live_owners("predict")) == 2 * settings.predict_workers, 40, "both groups are ready")
        yield service, rotation
    finally:
        if rotation:
            rotation.second_group.kill()
        service.stop()


def keys(ledger: Ledger) -> Counter[bytes]:
    """Count the Redis keys by form, without ids and owners."""
    return Counter(NAMES.sub(b"*", cast("bytes", key)) for key in ledger.redis.scan_iter("*", count=1000))


def forgotten(ledger: Ledger) -> bool:
    return not ledger.redis.zcard(ledger.prefix + "finished")


def data_of(ledger: Ledger) -> int | None:
    """Return the bytes of data; None while Redis is away."""
    try:
        return int(cast("dict[str, int]", ledger.redis.info("memory"))["used_memory"])
    except UNREACHABLE:
        return None


def slope(samples: list[tuple[float, int]]) -> float:
    """Return the slope in bytes a minute, by least squares."""
    mean_time, mean = (sum(each[place] for each in samples) / len(samples) for place in (0, 1))
    spread = sum((moment - mean_time) ** 2 for moment, _ in samples)
    return 60 * sum((moment - mean_time) * (size - mean) for moment, size in samples) / spread


def test_soak_under_repeated_faults_loses_and_doubles_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chaos: bool, figures: list[str], request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--soak") or (1200.0 if chaos else 26.0)
    rate, every, keep = (100.0, 45.0, 60.0) if chaos else (50.0, 6.0, 10.0)
    faults = fault_rotation.ALL if chaos else fault_rotation.FEW
    with running(tmp_path, monkeypatch, keep) as (service, rotation):
        ledger = service.ledger
        Client(service.url).predict(row(1), model="poison").wait(20)
        until(lambda: forgotten(ledger), keep + 10, "the first job is forgotten")
        before = keys(ledger)
        reader, lister = ResultReader(service.url, keep), JobLister(service.url, "poison")
        clients = Submitters(
            service.url, rate, patience=60, job_seconds=JOB_SECONDS, limit=int(rate * seconds), accepted=reader.expect, first=2
        )
        with PushCounter(ledger) as pushes, reader, lister:
            with clients:
                data = harm(ledger, rotation, faults, every, seconds)
                clients.join()
            ended_after = until(lambda: all_ended(clients, reader, pushes), ENDS_WITHIN, "all have ended")
            lister.list()
            until(lambda: reader.left == 0, keep, "all were read twice")
        until(lambda: forgotten(ledger), keep + 30, "all are forgotten")
        after = keys(ledger)
        runs = Counter(map(int, (service.home / "executions.log").read_text().split()))
    ids = {job.job_id for job in clients.jobs}
    listed = {job_id for each in lister.ids.values() for job_id in each}
    waits = [pushes.ended_at[each.job_id] - each.accepted_at for each in clients.log if each.job_id in pushes.ended_at]
    lost = ids - reader.ended - set(pushes.counts) | {job.job_id for job in clients.jobs if not runs[job.number]}
    again = sum(runs[job.number] > 1 for job in clients.jobs)
    beyond = [each for each in clients.abandoned if lister.ids.get(str(each.number))]
    growth = slope([each for each in data if each[0] > keep]) if data[-1][0] > 2 * keep else 0.0
    figures.append(
        f"soak: {seconds:g} s at {rate:g} jobs/s with {len(rotation.done)} faults ({', '.join(dict.fromkeys(rotation.done))}): "
        f"{len(ids):,} accepted, {len(reader.ended):,} read, {reader.read_twice:,} twice, lost {len(lost)}, doubled "
        f"{len(lister.doubled) + len(pushes.twice)}, changed {len(reader.changed)}, wrong {len(reader.wrong)}"
    )
    figures.append(
        f"soak: {again} executed more than once; answers {dict(clients.answers)}, {len(clients.abandoned)} abandoned, "
        f"{len(beyond)} of which ran; {share_within(waits, 1.0):.2%} ended within 1 s, the slowest after {max(waits):.1f} s, all "
        f"{ended_after:.1f} s after the load; second group revived {rotation.revived} times; memory {growth / 1e6:+.2f} MB a "
        f"minute; {before.total()} keys before, {after.total()} after"
    )
    assert (lost, lister.doubled, pushes.twice, reader.changed, reader.wrong) == (set(), {}, {}, [], [])
    assert not reader.forgotten
    assert reader.read_twice >= 0.99 * len(ids)
    assert ids <= listed
    assert len(rotation.done) >= len(faults)
    assert growth < MAX_SLOPE
    assert set(after) - ONE_OF_A_KIND <= set(before), after - before
    assert after.total() <= before.total()


def all_ended(clients: Submitters, reader: ResultReader, pushes: PushCounter) -> bool:
    """Return whether every end was read or pushed."""
    return {job.job_id for job in clients.jobs} <= reader.ended.union(pushes.ended_at)


def share_within(waits: list[float], seconds: float) -> float:
    return sum(wait <= seconds for wait in waits) / len(waits)


def harm(
    ledger: Ledger, rotation: FaultRotation, faults: tuple[str, ...], every: float, seconds: float
) -> list[tuple[float, int]]:
    """Inject a fault at each interval. Returns the bytes that Redis used after how many seconds."""
    since, data = time.monotonic(), list[tuple[float, int]]()
    next_fault = since + every / 2
    while (now := time.monotonic()) < since + seconds:
        if now >= next_fault:
            rotation.next(faults)
            next_fault += every
        rotation.revive()
        size = data_of(ledger)
        if size is not None:
            data.append((now - since, size))
        time.sleep(0.5)  # the pace of the samples
    return data
