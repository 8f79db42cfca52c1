"""What becomes of the job of a request in another protocol: batched with the others, failed, late, canceled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from mldeploy.client import Client
from tests.integration.dialects import answer, matrix, post, problem
from tests.poison import expected, row
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]


def poison(number: int, deed: str = "work", seconds: float = 0.0) -> list[float]:
    return list(row(number, deed, seconds).values())


def test_of_many_at_once_each_gets_its_own_answer(shared: Pieces) -> None:
    client = Client(shared.url)

    def ask(number: int) -> Any:
        if number % 3 == 0:
            return client.predict(row(number), model="poison").wait(60)["prediction"]
        if number % 3 == 1:
            return answer(shared, "/invocations?model=poison", {"inputs": [poison(number)]})["predictions"][0]
        return answer(shared, "/v2/models/poison/infer", {"inputs": [matrix([poison(number)])]})["outputs"][0]["data"][0]

    with ThreadPoolExecutor(32) as clients:
        assert list(clients.map(ask, range(300))) == [expected(number) for number in range(300)]


def test_they_are_batched_with_those_of_predict(assemble: Assemble) -> None:
    pieces = assemble()
    client = Client(pieces.url)
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(post, pieces.url + "/invocations?model=poison", {"inputs": [poison(n)]}) for n in range(4)]
        tensors = [{"inputs": [matrix([poison(n)])]} for n in range(4)]
        asked += [clients.submit(post, pieces.url + "/v2/models/poison/infer", each) for each in tensors]
        client.predict(row(1), model="poison")
        until(lambda: len(list(client.jobs())) == 9, 20, "all wait")
        pieces.worker()
        assert {each.result().status_code for each in asked} == {200}
    jobs = [job.reload() for job in client.jobs()]
    assert len(jobs) == 9
    assert len({job.answer["started_at"] for job in jobs}) == 1


def test_what_the_model_cannot_predict_is_no_failure_of_the_server(shared: Pieces) -> None:
    asked = {"inputs": [poison(1, "raise")]}
    told = problem(post(shared.url + "/invocations?model=poison", asked), 422, "prediction-failed")
    assert "The model raised an error: " in told["message"]
    assert "this row is bad" in told["message"]
    found = post(shared.url + "/v2/models/poison/infer", {"inputs": [matrix([poison(1, "raise")])]})
    assert "this row is bad" in problem(found, 422, "prediction-failed")["error"]
    assert Client(shared.url).result(found.headers["Location"].rpartition("/")[2]).status == "failed"


def test_a_job_that_is_not_done_in_time_is_named_and_goes_on(shared: Pieces) -> None:
    asked = {"inputs": [matrix([poison(7, seconds=3)])]}
    found = post(shared.url + "/v2/models/poison/infer", asked, Prefer="wait=1")
    told = problem(found, 504, "not-in-time")
    assert found.headers["Location"] in told["error"]
    job = Client(shared.url).result(found.headers["Location"].rpartition("/")[2])
    assert job.wait(60)["predictions"] == [{"prediction": expected(7)}]


def test_a_job_that_is_canceled_ends_its_wait(assemble: Assemble) -> None:
    pieces = assemble()  # nobody works
    with ThreadPoolExecutor(1) as clients:
        asked = {"instances": [poison(1)]}
        waiting = clients.submit(post, pieces.url + "/invocations?model=poison", asked)
        client = Client(pieces.url)
        until(lambda: list(client.jobs()), 20, "the job waits")
        (job,) = client.jobs()
        job.cancel()
        assert "canceled" in problem(waiting.result(), 422, "prediction-failed")["message"]


def test_nobody_waits_where_as_many_wait_as_may(assemble: Assemble) -> None:
    pieces = assemble(api_waiters=0)
    found = post(pieces.url + "/invocations?model=poison", {"instances": [poison(1)]})
    assert problem(found, 503, "too-many-waiting")["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert list(Client(pieces.url).jobs()) == []


def test_without_redis_nobody_is_ready(assemble: Assemble) -> None:
    pieces = assemble()
    pieces.ledger.redis.shutdown(nosave=True)
    for path in ("/v2/health/ready", "/ping"):
        found = requests.get(pieces.url + path, timeout=10)
        assert (found.status_code, "Retry-After" in found.headers) == (503, True)
    assert requests.get(pieces.url + "/v2/health/ready", timeout=10).json() == {"ready": False}
    assert requests.get(pieces.url + "/v2/health/live", timeout=10).json() == {"live": True}
