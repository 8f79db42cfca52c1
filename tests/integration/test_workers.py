"""Real Celery workers with bad rows, hangs, deaths, stalls and SIGTERM."""

import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from jobs.job import Job, Kind, State
from mldeploy.client import Client, JobFailed
from settings import Settings
from tests.conftest import FAST
from tests.integration.jobs import ended, error_of
from tests.poison import expected, publish, row, without_workers
from tests.processes import Pieces, Running, until
from tests.suspended import nobody_predicts

Assemble = Callable[..., Pieces]


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start one worker process with short limits."""
    settings = Settings().replace(**{**FAST, "predict_workers": 1, "predict_limit": 1.0, "limit_margin": 1.0, "time_slice": 1.0})
    with without_workers(settings, tmp_path_factory.mktemp("limited")) as pieces:
        pieces.worker()
        yield pieces


@pytest.fixture(scope="module")
def brisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start one worker process that listens for half a second at a time, claims one job, and may not stall."""
    own = {"predict_workers": 1, "time_slice": 0.5, "stall": 1.0, "claim_jobs": 1, "drain": 10.0}
    with without_workers(Settings().replace(**{**FAST, **own}), tmp_path_factory.mktemp("brisk")) as pieces:
        pieces.worker()
        yield pieces


def test_one_bad_row_fails_its_own_job_and_none_of_its_neighbours(shared: Pieces) -> None:
    pieces = shared
    client = Client(pieces.url)
    before = executions(pieces)
    with nobody_predicts(pieces):
        jobs = [client.predict(row(number, "raise" if number == 20 else "work"), model="poison") for number in range(64)]
    for number, job in enumerate(jobs):
        if number == 20:
            with pytest.raises(JobFailed, match="this row is bad"):
                job.wait(30)
        else:
            assert job.wait(30)["prediction"] == expected(number)
    records = ended(pieces, *(job.id for job in jobs))
    assert {record.attempts for record in records} == {1}
    assert executions(pieces) - before < 64 * 8  # halves, not one by one


def executions(pieces: Pieces) -> int:
    return len((pieces.folder / "poison-executions.log").read_text().split())


def test_a_batch_keeps_its_order_and_versions_do_not_mix(shared: Pieces) -> None:
    pieces = shared
    publish(pieces, "other")
    client = Client(pieces.url)
    batches = [
        client.predict([row(number) for number in range(start, start + 50)], model=model)
        for model in ("poison", "other")
        for start in (0, 50)
    ]
    for place, batch in enumerate(batches):
        start = 50 * (place % 2)
        assert [each["prediction"] for each in batch.wait(30)["predictions"]] == [
            expected(number) for number in range(start, start + 50)
        ]


def test_a_prediction_over_its_limit_fails_and_its_neighbours_do_not(limited: Pieces) -> None:
    client = Client(limited.url)
    with nobody_predicts(limited):
        good, slow = client.predict(row(1), model="poison"), client.predict(row(2, "hang"), model="poison")
    with pytest.raises(JobFailed, match="longer than 1 s"):
        slow.wait(20)
    assert good.wait(10)["prediction"] == expected(1)


def test_prediction_that_ignores_the_soft_limit_fails_by_the_hard_one(limited: Pieces, figures: list[str]) -> None:
    """It fails within the hard limit + 5 s, and the process is replaced."""
    client = Client(limited.url)
    stuck, since = client.predict(row(2, "c-hang"), model="poison"), time.monotonic()
    with pytest.raises(JobFailed, match="time limit"):
        stuck.wait(20)
    took = time.monotonic() - since
    figures.append(f"a loop that ignores the soft limit failed after {took:.1f} s (hard limit 3 s)")
    assert took < 3 + 5
    assert client.predict(row(3), model="poison").wait(20)["prediction"] == expected(3)


def test_work_of_a_dead_child_is_released_at_once(shared: Pieces) -> None:
    """Its lease would last much longer."""
    pieces = shared
    job = Client(pieces.url).predict(row(1, seconds=1.0), model="poison")
    until(lambda: pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"), 10, "it is in hand")
    record = pieces.ledger.get(job.id)
    assert record is not None
    psutil.Process(int((record.worker or "").rpartition(":")[2])).kill()
    since = time.monotonic()
    assert job.wait(20)["prediction"] == expected(1)
    assert time.monotonic() - since < 10
    assert job.answer["attempts"] == 2


@pytest.mark.slow
def test_dead_single_process_is_replaced_soon(assemble: Assemble) -> None:
    pieces = assemble(predict_workers=1)
    group, waits = pieces.worker(), []
    for _ in range(10):
        group.family[1].kill()
        since = time.monotonic()
        Client(pieces.url).predict(row(1), model="poison").wait(20)
        waits.append(time.monotonic() - since)
    assert max(waits) < 3.0, waits  # Celery itself notices after five seconds, mostly


@pytest.mark.slow
def test_sigterm_releases_long_work_and_counts_no_attempt(assemble: Assemble) -> None:
    pieces = assemble(predict_workers=1, drain=1.0)
    first = pieces.worker()
    job = Client(pieces.url).predict(row(1, seconds=5.0), model="poison")
    until(lambda: pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"), 10, "it is in hand")
    since = time.monotonic()
    first.terminate(8)
    assert time.monotonic() - since < 6
    record = pieces.ledger.get(job.id)
    assert record is not None
    assert (record.state, record.attempts) == (State.QUEUED, 0)
    pieces.worker()
    assert job.wait(30)["prediction"] == expected(1)
    assert job.answer["attempts"] == 1


@pytest.mark.slow
def test_stalled_consumer_ends_its_worker(assemble: Assemble, figures: list[str]) -> None:
    """The consumer is alive and connected and takes no messages. Work is begun without messages meanwhile, and the worker
    exits with status 1, to be started again by whatever runs it."""
    pieces = assemble(stall=3.0, time_slice=1.0, worker_idle_timeout=0.0)
    silence = pieces.folder / "silence"
    worker = pieces.python("deaf", "tests.deaf_worker", str(silence))
    until(lambda: pieces.is_ready(worker), 40, "the worker is ready")
    serving = f"{pieces.ledger.prefix}serving:predict"
    until(lambda: pieces.ledger.redis.zcard(serving) == 2, 10, "both processes listen from their start")
    silence.touch()
    until(lambda: not pieces.ledger.redis.zcard(serving), 10, "nobody listens any more")
    client, since, waits = Client(pieces.url), time.monotonic(), list[float]()
    while worker.popen.poll() is None:  # one message may have been on its way, and the report of waiting work is throttled
        assert time.monotonic() - since < 40, "it does not end"
        job = client.predict(row(len(waits)), model="poison")
        waits.append(until(lambda: job.reload().done or worker.popen.poll() is not None, 10, "it is done all the same"))  # noqa: B023
        until(lambda: not pieces.ledger.redis.zcard(serving), 10, "nobody listens any more")
    took = time.monotonic() - since
    assert worker.popen.returncode == 1
    assert worker.family == []
    figures.append(
        f"jobs of a stalled consumer were done after {max(waits):.1f} s, and it ended itself after {took:.1f} s (stall 3 s)"
    )


def test_a_process_listens_on_after_its_time_slice(brisk: Pieces) -> None:
    serving, end = f"{brisk.ledger.prefix}serving:predict", time.monotonic() + 3  # six slices
    seen = []
    while time.monotonic() < end:
        seen.append(brisk.ledger.redis.zcard(serving))
    assert any(seen[-len(seen) // 6 :])
    assert seen.count(0) < len(seen) / 2  # one that did not listen on would be away for five slices of six


def test_idle_worker_is_not_restarted(brisk: Pieces) -> None:
    time.sleep(3)  # three times as long as a stall
    assert group_of(brisk).popen.poll() is None
    assert Client(brisk.url).predict(row(1), model="poison").wait(20)


def group_of(pieces: Pieces) -> Running:
    (group,) = (running for running in pieces._running if running.name == Kind.PREDICT)
    return group


def test_sigterm_lets_work_in_hand_finish_and_claims_no_more(brisk: Pieces) -> None:
    """This is the last test on the brisk worker, which it ends."""
    client = Client(brisk.url)
    jobs = [client.predict(row(number, seconds=1.0), model="poison") for number in range(3)]
    until(lambda: brisk.ledger.redis.keys(brisk.ledger.prefix + "held:*"), 10, "the first is in hand")
    group_of(brisk).terminate(8)
    states = [record.state for record in brisk.ledger.get_many([job.id for job in jobs]) if record]
    assert states == [State.SUCCEEDED, State.QUEUED, State.QUEUED]
    assert brisk.ledger.live_owners("predict") == []


@pytest.mark.parametrize(
    ("setting", "value"), [("appendfsync", "everysec"), ("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")]
)
@pytest.mark.slow
def test_worker_refuses_a_redis_that_may_lose_data(assemble: Assemble, setting: str, value: str) -> None:
    pieces = assemble()
    pieces.ledger.redis.config_set(setting, value)
    worker = pieces.python("refuses", "worker", Kind.PREDICT)
    until(lambda: worker.popen.poll() is not None, 20, "the worker refuses")
    assert worker.popen.returncode == 1
    assert setting in worker.log.read_text()


@pytest.mark.slow
def test_unexpected_error_ends_the_process_and_releases_its_work(assemble: Assemble) -> None:
    """The workers cannot read these jobs: the prediction fails; the training ends its process, counts deaths and fails."""
    pieces = assemble(predict_workers=1)
    broken = Job(pieces.ledger.new_id(), Kind.PREDICT, "poison", 1, 1, b"payload", b'{"single":')
    training = Job(pieces.ledger.new_id(), Kind.TRAIN, "poison", 2, 1, b"", b"not json")
    pieces.ledger.add([broken, training])
    pieces.worker()
    pieces.worker(Kind.TRAIN)
    until(lambda: len(ended(pieces, broken.id, training.id)) == 2, 40, "both end")
    assert b"prediction-failed" in error_of(pieces, broken.id)
    assert b"worker-died" in error_of(pieces, training.id)
    assert b"most recently because it exited with status 1" in error_of(pieces, training.id)
    assert Client(pieces.url).predict(row(1), model="poison").wait(20)


@pytest.mark.parametrize(
    ("deed", "how"), [("kill", "killed by SIGKILL"), ("segfault", "killed by SIGSEGV"), ("exit", "exited with status 3")]
)
@pytest.mark.slow
def test_a_job_that_kills_its_worker_says_how_it_died(assemble: Assemble, deed: str, how: str) -> None:
    """A SIGKILL does not mean that memory ran out if the process was small and the kernel had enough."""
    pieces = assemble(predict_workers=1)
    pieces.worker()
    with pytest.raises(JobFailed, match=how) as failed:
        Client(pieces.url).predict(row(1, deed), model="poison").wait(60)
    assert failed.value.type == "urn:problem-type:mldeploy:worker-died"
