"""Batched submissions and shared waits: one bad row among many, and API processes that serve each other's waiters."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from jobs.async_ledger import AsyncLedger
from jobs.batcher import Batcher
from jobs.committer import Committer
from jobs.errors import LaneFull, LedgerUnavailable
from jobs.job import Record, State
from jobs.ledger import Ledger
from jobs.waiters import Waiters
from jobs.wakeup import WakeupSender, make_celery
from mldeploy.client import Client
from settings import Settings
from tests.integration.jobs import claim, job, succeeded
from tests.poison import expected, row
from tests.processes import Pieces, Running, free_port, until
from tests.suspended import nobody_predicts

Assemble = Callable[..., Pieces]


def post(url: str, number: int, deed: str = "work", seconds: float = 0.0, wait: int = 30) -> requests.Response:
    body = row(number, deed, seconds)
    return requests.post(f"{url}/predict?model=poison", json=body, headers={"Prefer": f"wait={wait}"}, timeout=60)


def test_one_raising_row_among_64_concurrent_jobs_fails_that_job_alone(shared: Pieces) -> None:
    """The other 63 results are right, and they were predicted together."""
    with ThreadPoolExecutor(65) as clients:
        first = clients.submit(post, shared.url, 1000, "work", 0.5)  # meanwhile the others queue up
        deeds = ["raise" if number == 20 else "work" for number in range(64)]
        answers = list(clients.map(lambda number: post(shared.url, number, deeds[number]).json(), range(64)))
        assert first.result().json()["result"]["prediction"] == expected(1000)
    assert [answer["status"] for answer in answers] == ["failed" if deed == "raise" else "succeeded" for deed in deeds]
    assert "this row is bad" in answers[20]["error"]["detail"]
    rest = [(number, answer) for number, answer in enumerate(answers) if number != 20]
    assert [answer["result"]["prediction"] for _, answer in rest] == [expected(number) for number, _ in rest]
    assert [answer["result"]["input"]["number"] for _, answer in rest] == [number for number, _ in rest]


@contextmanager
def second_api(pieces: Pieces, **settings: Any) -> Iterator[tuple[Running, str]]:
    """Start another API process on the same Redis. Returns its URL too."""
    port, first = free_port(), pieces.settings
    pieces.settings = first.replace(port=port, **settings)
    second = pieces.api()
    pieces.settings = first
    try:
        yield second, f"http://127.0.0.1:{port}"
    finally:
        second.kill()


@pytest.fixture
def two_apis(assemble: Assemble) -> Iterator[tuple[Pieces, Running, str]]:
    """Start the pieces and a second API process. Returns its URL too."""
    pieces = assemble()
    with second_api(pieces) as (second, other):
        yield pieces, second, other


def test_two_api_processes_serve_each_others_waiters(shared: Pieces) -> None:
    """A job submitted to one process is waited for in the other, which answers at once."""
    with second_api(shared) as (_, other):
        check_waiters(shared, other)


def check_waiters(pieces: Pieces, other: str) -> None:
    job = Client(pieces.url).predict(row(1, seconds=1.0), model="poison")
    since = time.monotonic()
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda url: requests.get(f"{url}/result/{job.id}?wait=30", timeout=40), (pieces.url, other)))
    assert time.monotonic() - since < 10
    assert [answer.json()["result"]["prediction"] for answer in answers] == [expected(1)] * 2
    assert requests.get(f"{other}/result/{job.id}", timeout=5).json() == answers[0].json()


@pytest.mark.slow
def test_killing_one_api_process_loses_no_accepted_job(two_apis: tuple[Pieces, Running, str]) -> None:
    """All jobs that it accepted end, and the other process has their results."""
    pieces, second, other = two_apis
    accepted: list[str] = []
    enough, over = threading.Event(), threading.Event()

    def submit(number: int) -> None:
        while not over.is_set():
            try:
                answer = requests.post(f"{other}/predict?model=poison", json=row(number), timeout=5)
            except requests.ConnectionError:
                return
            accepted.append(answer.json()["id"])
            if len(accepted) > 200:
                enough.set()

    with ThreadPoolExecutor(17) as clients:
        submitting = [clients.submit(submit, number) for number in range(16)]
        waits = clients.submit(post, other, 500, "work", 0.0, 60)  # through the process that will be killed
        assert enough.wait(20)
        second.kill()
        over.set()
        for each in submitting:
            each.result()
        assert isinstance(waits.exception(), requests.ConnectionError)
    pieces.worker()
    client = Client(pieces.url)
    for job_id in accepted:
        job = client.result(job_id)
        assert job.wait(30)["prediction"] == expected(int(job.result["input"]["number"]))
    finished = pieces.ledger.redis.zcard(pieces.ledger.prefix + "finished")
    assert finished >= len(accepted) + 1  # also the one that was waited for


def test_a_client_that_cannot_wait_gets_its_202_at_once(shared: Pieces) -> None:
    with second_api(shared, api_waiters=2) as (_, url), ThreadPoolExecutor(3) as clients:
        with nobody_predicts(shared):
            held = [clients.submit(post, url, number, wait=20) for number in range(2)]
            waiting = f"{shared.ledger.prefix}lane:predict.small"
            until(lambda: shared.ledger.redis.hget(waiting, "jobs") == b"2", 10, "two wait")
            since = time.monotonic()
            assert post(url, 3, wait=20).status_code == 202
            assert time.monotonic() - since < 3
        assert [answer.result().json()["status"] for answer in held] == ["succeeded"] * 2


def test_half_sent_bodies_delay_nobody_else(shared: Pieces) -> None:
    """There are more of them than concurrent writes beside reads."""
    head = b"POST /predict?model=poison HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as held:
        for _ in range(50):
            half = held.enter_context(socket.create_connection(("127.0.0.1", shared.settings.port), 5))
            half.sendall(head)
        assert requests.get(f"{shared.url}/health/live", timeout=5).ok  # a read, so writes take turns
        assert post(shared.url, 7, wait=10).json()["result"]["prediction"] == expected(7)


# Batcher


def in_loop(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_concurrent_calls_are_batched_and_a_single_one_is_made_at_once() -> None:
    calls: list[list[int]] = []

    async def do(items: list[int]) -> list[int]:
        calls.append(items)
        await asyncio.sleep(0.05)  # as long as a call takes
        return [item * 2 for item in items]

    async def submit_all() -> None:
        together = Batcher(do, 4, 100)
        first = together.submit(1)
        while not calls:
            await asyncio.sleep(0)
        others = [together.submit(number) for number in range(2, 8)]
        assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12, 14]

    in_loop(submit_all())
    assert calls == [[1], [2, 3, 4, 5], [6, 7]]


def test_heavy_item_is_sent_alone_and_an_error_reaches_all() -> None:
    calls: list[list[int]] = []

    async def do(items: list[int]) -> list[int]:
        calls.append(items)
        raise LedgerUnavailable("away")

    async def submit_all() -> list[Any]:
        together = Batcher(do, 10, 10)
        return await asyncio.gather(*(together.submit(n, n) for n in (4, 5, 50, 1)), return_exceptions=True)

    assert [str(error) for error in in_loop(submit_all())] == ["away"] * 4
    assert calls == [[4, 5], [50], [1]]


# On a real Redis


def test_each_submission_of_a_commit_gets_its_own_answer(settings: Settings) -> None:
    ledger = Ledger(settings.replace(lane_jobs=2))

    async def submit() -> list[Any]:
        on_loop = AsyncLedger(ledger)
        committer = Committer(on_loop, WakeupSender(make_celery(settings)))
        outcomes = await asyncio.gather(*(committer.add(job(ledger)) for _ in range(3)), return_exceptions=True)
        await on_loop.close()
        return outcomes

    outcomes = in_loop(submit())
    assert [type(each).__name__ for each in outcomes] == ["Accepted", "Accepted", LaneFull.__name__]


def test_an_end_is_pushed_with_its_record_and_kept(settings: Settings) -> None:
    ledger = Ledger(settings)
    one, large = job(ledger), job(ledger)

    async def wait() -> None:
        waiters = Waiters(AsyncLedger(ledger), 10, 60)
        ledger.add([one, large])
        waits = asyncio.gather(waiters.wait(one.id, 15), waiters.wait(large.id, 15))
        while not ledger.redis.pubsub_numsub(ledger.finals_channel)[0][1]:
            await asyncio.sleep(0.01)
        claimed = claim(ledger)
        ledger.finish("w:1", [succeeded(claimed)[0], *succeeded(claimed, b'"' + b"x" * 10_000 + b'"')[1:]])
        records = [record for record in await waits if record]
        assert [record.state for record in records] == [State.SUCCEEDED] * 2
        assert [len(record.result or b"") for record in records] == [16, 10_002]
        ledger.redis.delete(f"{ledger.prefix}job:{one.id}")
        assert await waiters.read(one.id) == records[0]  # a final record is cached
        await waiters.close()

    in_loop(wait())


def test_a_poll_of_a_young_job_waits_a_moment_for_its_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.waiters.YOUNG_JOB_WAIT", 15.0)
    monkeypatch.setattr("jobs.waiters.YOUNG_JOB_AGE", 60.0)
    ledger = Ledger(settings)
    one = job(ledger)

    async def poll() -> None:
        waiters = Waiters(AsyncLedger(ledger), 10, 60)
        await waiters.warm()
        ledger.add([one])
        answer = asyncio.create_task(waiters.read(one.id))
        while not ledger.redis.pubsub_numsub(ledger.finals_channel)[0][1]:
            await asyncio.sleep(0.01)
        ledger.finish("w:1", succeeded(claim(ledger)))
        ledger.redis.delete(f"{ledger.prefix}job:{one.id}")  # so the record can only come from the push
        record = await answer
        assert record
        assert record.state is State.SUCCEEDED
        await waiters.close()

    in_loop(poll())


def test_a_poll_of_an_older_job_is_answered_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.waiters.YOUNG_JOB_WAIT", 60.0)
    monkeypatch.setattr("jobs.waiters.YOUNG_JOB_AGE", 0.0)
    ledger = Ledger(settings)
    one = job(ledger)

    async def poll() -> Record | None:
        waiters = Waiters(AsyncLedger(ledger), 10, 60)
        ledger.add([one])
        record = await asyncio.wait_for(waiters.read(one.id), 15)
        await waiters.close()
        return record

    record = in_loop(poll())
    assert record
    assert record.state is State.QUEUED


def test_at_the_end_of_a_wait_the_job_is_read_once_more(settings: Settings) -> None:
    ledger = Ledger(settings)
    one = job(ledger)

    async def wait() -> Any:
        waiters = Waiters(AsyncLedger(ledger), 10, 60)
        ledger.add([one])
        waits = asyncio.create_task(waiters.wait(one.id, 0.5))
        await asyncio.sleep(0.2)
        ledger.redis.hset(f"{ledger.prefix}job:{one.id}", "state", "running")  # nothing is pushed
        record = await waits
        await waiters.close()
        return record

    assert in_loop(wait()).state is State.RUNNING


def test_number_of_waiting_clients_is_limited(settings: Settings) -> None:
    ledger = Ledger(settings)
    ids = [job(ledger) for _ in range(3)]

    async def wait() -> float:
        waiters = Waiters(AsyncLedger(ledger), 2, 60)
        ledger.add(ids)
        held = [asyncio.create_task(waiters.wait(each.id, 1.5)) for each in ids[:2]]
        await asyncio.sleep(0.1)
        since = time.monotonic()
        record = await waiters.wait(ids[2].id, 1.5)
        assert record is not None
        took = time.monotonic() - since
        await asyncio.gather(*held)
        await waiters.close()
        return took

    assert in_loop(wait()) < 1


def test_client_that_disconnects_frees_its_place(settings: Settings) -> None:
    ledger = Ledger(settings)
    one = job(ledger)

    async def wait() -> Record | None:
        waiters = Waiters(AsyncLedger(ledger), 1, 60)
        ledger.add([one])
        hung_up = asyncio.Event()
        held = asyncio.create_task(waiters.wait(one.id, 40, hung_up.wait))
        while not waiters.is_full:
            await asyncio.sleep(0.01)
        hung_up.set()
        record = await asyncio.wait_for(held, 20)
        assert not waiters.is_full
        await waiters.close()
        return record

    record = in_loop(wait())
    assert record is not None
    assert record.state is State.QUEUED
