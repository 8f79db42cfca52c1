"""At Redis's memory limit every accepted job ends, and memory stays within the limit."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis
import requests

from jobs.job import Kind
from mldeploy.client import Client, Unavailable
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]

ROWS = 5000
FLOWERS = [
    {"sepal_length": 5.0 + n % 7 / 10, "sepal_width": 3.2, "petal_length": 1.5 + n % 5, "petal_width": 0.3 + n % 3}
    for n in range(ROWS)
]
FRESH = 5.0  # seconds for which a result stays whatever comes
WITHIN = 60.0  # seconds after the thaw
MAX_BATCHES = 5000


@dataclass
class Run:
    """One run: ``open`` are the jobs that had not ended, ``peak`` and ``limit`` bytes of memory."""

    accepted: list[str] = field(default_factory=list)
    refusal: dict[str, Any] = field(default_factory=dict)
    open: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    peak: int = 0
    limit: int = 0
    took: float = 0.0

    def __str__(self) -> str:
        return (
            f"{len(self.accepted)} accepted, {self.statuses}, {self.open} open {self.took:.1f} s after the thaw; memory "
            f"{self.peak / 1e6:.1f} of {self.limit / 1e6:.1f} MB at most"
        )


def parts(assemble: Assemble, maxmemory: int, reconciler: str = "jobs.reconciler", **settings: Any) -> tuple[Pieces, Running]:
    """Start all parts with iris trained. The predict workers are not restarted when they are frozen."""
    pieces = assemble(reconciler=False, maxmemory=maxmemory, lease=15.0, wakeup_timeout=2.0, stall=600.0, **settings)
    pieces.python("reconciler", reconciler)
    trainer, predictor = pieces.worker(Kind.TRAIN), pieces.worker()
    Client(pieces.url).train(model="iris").wait(60)
    trainer.terminate()
    return pieces, predictor


@contextmanager
def frozen(worker: Running) -> Iterator[None]:
    """Freeze the worker processes while their parent renews their leases."""
    children = worker.family[1:]
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for child in children:
            with_suppressed(child.resume)


def with_suppressed(call: Callable[[], object]) -> None:
    try:
        call()
    except psutil.NoSuchProcess:
        return


def fill(pieces: Pieces, run: Run) -> None:
    """Submit batches whose results are larger than themselves until one is refused."""
    session = requests.Session()
    while len(run.accepted) < MAX_BATCHES:
        answer = session.post(f"{pieces.url}/predict?proba=true", json=FLOWERS, timeout=30)
        if answer.status_code != 202:
            run.refusal = answer.json() | {"retry_after": answer.headers.get("Retry-After")}
            return
        run.accepted.append(answer.json()["id"])


def await_ends(pieces: Pieces, run: Run) -> None:
    since, left = time.monotonic(), list(run.accepted)
    while left and time.monotonic() - since < WITHIN:
        records = [pieces.ledger.get(job_id) for job_id in left]
        ended = [record for record in records if record is None or record.state.final]
        for record in ended:
            state = str(record.state) if record else "forgotten"
            run.statuses[state] = run.statuses.get(state, 0) + 1
            if record and record.result:
                run.results.add(hashlib.sha256(record.result).hexdigest())
        done = {record.id for record in ended if record}
        left = [job_id for job_id, record in zip(left, records, strict=True) if record is not None and job_id not in done]
        time.sleep(0.1 if left else 0)
    run.open, run.took = len(left), time.monotonic() - since


def run_to_the_limit(pieces: Pieces, predictor: Running) -> Run:
    run = Run()
    with frozen(predictor):
        fill(pieces, run)
    await_ends(pieces, run)
    memory = pieces.ledger.redis.info("memory")
    run.peak, run.limit = memory["used_memory_peak"], memory["maxmemory"]
    return run


def test_every_accepted_job_ends_at_the_memory_limit(assemble: Assemble, chaos: bool, figures: list[str]) -> None:
    for megabytes in (32, 60, 200, 1000) if chaos else (32, 60):
        pieces, predictor = parts(assemble, megabytes * 1_000_000)
        run = run_to_the_limit(pieces, predictor)
        figures.append(f"{megabytes} MB of memory: {run}")
        assert len(run.accepted) > megabytes / 3
        assert run.refusal["status"] == 503
        assert run.refusal["retry_after"]
        assert (run.open, run.statuses) == (0, {"succeeded": len(run.accepted)})
        assert len(run.results) == 1
        assert run.peak < run.limit
        assert Client(pieces.url).predict(FLOWERS[0]).wait(20)["prediction"] == "setosa"
        pieces.stop()


def test_without_reservations_memory_exceeds_the_limit(assemble: Assemble, figures: list[str]) -> None:
    """This is the control arm."""
    pieces, predictor = parts(assemble, 32_000_000, "tests.unbounded_reconciler")
    run = run_to_the_limit(pieces, predictor)
    figures.append(f"32 MB of memory, without reservations: {run}")
    assert run.open or run.peak > run.limit


def fill_with_what_is_not_ours(pieces: Pieces) -> None:
    """Fill Redis with foreign data to its last byte."""
    size = 1_000_000
    while size:
        try:
            pieces.ledger.redis.set(f"not-ours:{uuid.uuid4()}", b"x" * size)
        except redis.OutOfMemoryError:
            size //= 10


def test_worker_starts_claims_and_finishes_while_redis_is_full(assemble: Assemble) -> None:
    pieces, predictor = parts(assemble, 60_000_000)
    with frozen(predictor):
        jobs = [Client(pieces.url).predict(FLOWERS[:10]) for _ in range(3)]
        fill_with_what_is_not_ours(pieces)
        assert requests.post(f"{pieces.url}/predict", json=FLOWERS[0], timeout=10).status_code == 503
    predictor.kill()
    pieces.ledger.redis.delete(f"{pieces.settings.key_prefix}:celery:predict")  # no message is left that could wake a worker,
    fill_with_what_is_not_ours(pieces)  # and Redis takes none
    pieces.worker(name="second")
    until(lambda: all(job.reload().done for job in jobs), 40, "a worker that started without memory ends them")
    assert {job.status for job in jobs} == {"succeeded"}


def oldest_end(pieces: Pieces) -> float:
    """Return when the oldest finished job ended, in seconds."""
    return float(pieces.ledger.redis.zrange(f"{pieces.ledger.prefix}finished", 0, 0, withscores=True)[0][1]) / 1000


def test_oldest_results_are_removed_before_any_job_is_refused(assemble: Assemble) -> None:
    pieces, _ = parts(assemble, 32_000_000)
    client, ids = Client(pieces.url, retry_for=0.0), list[str]()
    deadline = time.monotonic() + 120
    while len(ids) < 80:  # 36 MB of results
        now = time.time()
        try:
            job = client.predict(FLOWERS, proba=True)
        except Unavailable as refusal:
            assert time.monotonic() < deadline
            if refusal.type.endswith(":full"):
                assert now - oldest_end(pieces) < FRESH
            time.sleep(0.1)
            continue
        job.wait(30)
        ids.append(job.id)
    records = pieces.ledger.get_many(ids)
    kept = [record is not None for record in records]
    assert kept == sorted(kept)
    assert not kept[0]
    assert kept[-1]


def test_job_that_could_need_too_much_memory_is_refused_for_good(assemble: Assemble, tmp_path: Path) -> None:
    pieces, _ = parts(assemble, 32_000_000)
    answer = requests.post(f"{pieces.url}/predict?proba=true", json=FLOWERS * 2, timeout=30)
    assert answer.status_code == 413, answer.text
    problem = answer.json()
    assert problem["type"].endswith(":job-too-large")
    assert "send fewer rows" in problem["detail"]
    assert "MLDEPLOY_MAXMEMORY" in problem["detail"]
