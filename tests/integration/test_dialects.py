"""Jobs of requests in other protocols: batched with the others, failed, late, canceled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from mldeploy.client import Client
from tests.integration.dialects import answer, matrix, post, problem
from tests.poison import expected, row
from tests.processes import Pieces, until
from tests.suspended import nobody_predicts

Assemble = Callable[..., Pieces]


def poison(number: int, deed: str = "work", seconds: float = 0.0) -> list[float]:
    return list(row(number, deed, seconds).values())


def test_concurrent_requests_get_their_own_results(shared: Pieces) -> None:
    client = Client(shared.url)

    def send(number: int) -> Any:
        if number % 3 == 0:
            return client.predict(row(number), model="poison").wait(60)["prediction"]
        if number % 3 == 1:
            return answer(shared, "/invocations?model=poison", {"inputs": [poison(number)]})["predictions"][0]
        return answer(shared, "/v2/models/poison/infer", {"inputs": [matrix([poison(number)])]})["outputs"][0]["data"][0]

    with ThreadPoolExecutor(32) as clients:
        assert list(clients.map(send, range(300))) == [expected(number) for number in range(300)]


def test_requests_are_batched_with_predict(shared: Pieces) -> None:
    client = Client(shared.url)
    with ThreadPoolExecutor(8) as clients:
        with nobody_predicts(shared):
            inputs = [{"inputs": [poison(n)]} for n in range(4)]
            submitted = [clients.submit(post, shared.url + "/invocations?model=poison", each) for each in inputs]
            tensors = [{"inputs": [matrix([poison(n)])]} for n in range(4)]
            submitted += [clients.submit(post, shared.url + "/v2/models/poison/infer", each) for each in tensors]
            client.predict(row(1), model="poison")
            until(lambda: len(list(client.jobs(kind="predict", status="queued"))) == 9, 20, "all wait")
            jobs = list(client.jobs(kind="predict", status="queued"))
        assert {each.result().status_code for each in submitted} == {200}
    assert len({job.reload().answer["started_at"] for job in jobs}) == 1


def test_failed_prediction_is_a_422(shared: Pieces) -> None:
    body = {"inputs": [poison(1, "raise")]}
    error = problem(post(shared.url + "/invocations?model=poison", body), 422, "prediction-failed")
    assert "The model raised an error: " in error["message"]
    assert "this row is bad" in error["message"]
    found = post(shared.url + "/v2/models/poison/infer", {"inputs": [matrix([poison(1, "raise")])]})
    assert "this row is bad" in problem(found, 422, "prediction-failed")["error"]
    assert Client(shared.url).result(found.headers["Location"].rpartition("/")[2]).status == "failed"


def test_slow_job_is_named_in_a_504_and_goes_on(shared: Pieces) -> None:
    body = {"inputs": [matrix([poison(7, seconds=3)])]}
    found = post(shared.url + "/v2/models/poison/infer", body, Prefer="wait=1")
    error = problem(found, 504, "not-in-time")
    assert found.headers["Location"] in error["error"]
    job = Client(shared.url).result(found.headers["Location"].rpartition("/")[2])
    assert job.wait(60)["predictions"] == [{"prediction": expected(7)}]


def test_a_job_that_is_canceled_ends_its_wait(shared: Pieces) -> None:
    with ThreadPoolExecutor(1) as clients, nobody_predicts(shared):
        body = {"instances": [poison(1)]}
        waiting = clients.submit(post, shared.url + "/invocations?model=poison", body)
        client = Client(shared.url)
        until(lambda: list(client.jobs(kind="predict", status="queued")), 20, "the job waits")
        (job,) = client.jobs(kind="predict", status="queued")
        job.cancel()
        assert "canceled" in problem(waiting.result(), 422, "prediction-failed")["message"]


def test_too_many_waiting_requests_get_503(assemble: Assemble) -> None:
    pieces = assemble(api_waiters=0)
    found = post(pieces.url + "/invocations?model=poison", {"instances": [poison(1)]})
    assert problem(found, 503, "too-many-waiting")["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert list(Client(pieces.url).jobs()) == []


def test_without_redis_the_readiness_checks_fail(assemble: Assemble) -> None:
    pieces = assemble()
    pieces.ledger.redis.shutdown(nosave=True)
    for path in ("/v2/health/ready", "/ping"):
        found = requests.get(pieces.url + path, timeout=10)
        assert (found.status_code, "Retry-After" in found.headers) == (503, True)
    assert requests.get(pieces.url + "/v2/health/ready", timeout=10).json() == {"ready": False}
    assert requests.get(pieces.url + "/v2/health/live", timeout=10).json() == {"live": True}
