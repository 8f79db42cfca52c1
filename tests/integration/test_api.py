"""The main routes over real HTTP, against `mldeploy up`."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from mldeploy.client import Client
from modeler import artifact, dataset, table
from modeler.artifact import open_artifact_store
from models.card import from_json
from models.packaged import packaged_csv
from models.signing import signing_key
from tests.processes import until
from tests.service import Service
from tests.suspended import nobody_trains

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
TABLE = dataset.make(table.read(packaged_csv("iris") or b"", "csv"))
FLOWERS = [dict(zip(TABLE.schema.names, row, strict=True)) for row in TABLE.features.tolist()]
JSON = {"Content-Type": "application/json"}


def post(service: Service, path: str, **options: Any) -> requests.Response:
    return requests.post(service.url + path, timeout=30, **options)


def get(service: Service, path: str) -> requests.Response:
    return requests.get(service.url + path, timeout=70)


def waiting(service: Service) -> int:
    return sum(service.ledger.waiting(lane) for lane in ("predict.small", "predict.large", "train"))


def records(service: Service) -> int:
    ledger = service.ledger
    return sum(1 for _ in ledger.redis.scan_iter(f"{ledger.prefix}job:*", count=1000))


def problem(answer: requests.Response) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert {"type", "title", "detail", "instance"} <= set(body)
    return body


def test_a_submission_answers_202_and_where_to_look(service: Service) -> None:
    answer = post(service, "/predict", json=FLOWER)
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == body["result_url"] == f"/result/{body['id']}"
    assert int(answer.headers["Retry-After"]) >= 0
    assert (body["kind"], body["status"], body["rows"]) == ("predict", "queued", 1)
    assert body["model"]["name"] == "iris"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["created_at"])


def test_one_measurement_gives_its_prediction_and_the_input_back(service: Service) -> None:
    submitted = post(service, "/predict", json=FLOWER).json()
    answer = get(service, submitted["result_url"] + "?wait=30")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "succeeded")
    assert body["result"] == {"prediction": "setosa", "input": FLOWER}
    assert body["attempts"] == 1
    assert body["created_at"] <= body["started_at"] <= body["finished_at"]
    assert body["worker"]


def test_150_predictions_equal_those_of_the_stored_model(service: Service, client: Client) -> None:
    job = client.predict(FLOWERS)
    said = [each["prediction"] for each in job.wait(30)["predictions"]]
    version = job.answer["model"]["version"]
    card = from_json(json.dumps(next(card for card in client.model("iris")["versions"] if card["version"] == version)))
    stored = artifact.load(open_artifact_store(str(service.home / "models"), signing_key(service.home, "")), card)
    assert said == stored.predict(TABLE.features).tolist()


def test_probabilities_by_class_on_request(client: Client) -> None:
    result = client.predict(FLOWER, proba=True).wait(30)
    assert set(result["probabilities"]) == {"setosa", "versicolor", "virginica"}
    assert sum(result["probabilities"].values()) == pytest.approx(1)


def test_integers_are_fine_and_so_is_no_content_type(service: Service) -> None:
    answer = post(service, "/predict", data=json.dumps(dict.fromkeys(FLOWER, 5)), headers={"Prefer": "wait=20"})
    assert answer.json()["result"]["input"] == dict.fromkeys(FLOWER, 5.0)


def test_prefer_wait_answers_200_with_the_result(service: Service) -> None:
    # longer than the time-out of the client: the end of the job ends the wait
    answer = post(service, "/predict", json=FLOWER, headers={"Prefer": "respond-async, wait=60"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=60"


def test_a_version_by_number_or_alias(service: Service, client: Client) -> None:
    client.predict(FLOWER).wait(30)
    for version in ("1", "champion"):
        assert post(service, f"/predict?version={version}", json=FLOWER).status_code == 202
    body = problem(post(service, "/predict?version=77", json=FLOWER))
    assert body["type"].endswith("unknown-version")


def test_unknown_model_error_lists_the_known_ones(service: Service, client: Client) -> None:
    client.predict(FLOWER).wait(30)
    answer = post(service, "/predict?model=wine", json=FLOWER)
    assert answer.status_code == 404
    assert "iris" in problem(answer)["detail"]


# Bad input is refused within a second, and nothing is queued

MEASUREMENT = '{"sepal_length":%s,"sepal_width":3.2,"petal_length":1.5,"petal_width":0.3}'
REFUSED = {
    "NaN": (MEASUREMENT % "NaN", 400),
    "1e999": (MEASUREMENT % "1e999", 422),
    "100,000 nested brackets": ("[" * 100_000 + "]" * 100_000, 422),
    "100,000 nested brackets in a field": (MEASUREMENT % ("[" * 100_000 + "]" * 100_000), 422),
    "a 5,000-digit integer": (MEASUREMENT % ("9" * 5000), 422),
    "duplicate keys": (MEASUREMENT.replace("{", '{"sepal_width":1,') % "5.0", 422),
    "a wrong field": (MEASUREMENT.replace("petal_width", "petal_color") % "5.0", 422),
    "an extra field": (MEASUREMENT.replace("{", '{"colour":1,') % "5.0", 422),
    "a missing field": ('{"sepal_length":5.0}', 422),
    "text for a number": (MEASUREMENT % '"5.0"', 422),
    "a boolean for a number": (MEASUREMENT % "true", 422),
    "null for a number": (MEASUREMENT % "null", 422),
    "an 11 MB body": ("[" + ",".join([MEASUREMENT % "5.0"] * 150_000) + "]", 413),
    "an empty array": ("[]", 422),
    "10,001 rows": ("[" + ",".join([MEASUREMENT % "5.0"] * 10_001) + "]", 422),
    "an empty body": ("", 400),
    "half a body": ('{"sepal_length":', 400),
    "lone surrogates": (MEASUREMENT % '"\\ud800"', 400),
    "bytes that are not UTF-8": (b'{"\xff":1}', 400),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_refused_within_a_second_and_queues_nothing(service: Service, what: str) -> None:
    body, status = REFUSED[what]
    before = records(service)
    since = time.monotonic()
    answer = post(service, "/predict", data=body, headers=JSON)
    took = time.monotonic() - since
    assert answer.status_code == status, answer.text
    assert problem(answer)["detail"]
    assert took < 1
    assert records(service) == before
    assert waiting(service) == 0


def test_an_11_mb_body_without_a_length_is_refused_too(service: Service) -> None:
    answer = post(service, "/predict", data=iter([b"[" + b" " * 1_000_000] * 11), headers=JSON)
    assert answer.status_code == 413


def test_errors_point_at_what_is_wrong(service: Service) -> None:
    rows = [FLOWER, {**FLOWER, "sepal_length": "long"}, {"petal_lenght": 1}]
    errors = problem(post(service, "/predict", json=rows))["errors"]
    assert errors[0] == {"pointer": "/1/sepal_length", "detail": "expected a number, got text"}
    assert errors[1] == {"pointer": "/2/petal_lenght", "detail": "unknown field: did you mean petal_length?"}


@pytest.mark.parametrize(
    "query", ["verson=2", "model=../../etc", "model=Iris", "model=iris%0A", "version=1%0A", "proba=maybe", "version=" + "9" * 100]
)
def test_a_query_that_is_not_taken(service: Service, query: str) -> None:
    assert problem(post(service, f"/predict?{query}", json=FLOWER))["status"] in (404, 422)


def test_other_content_types_are_refused_with_the_right_one(service: Service) -> None:
    answer = post(service, "/predict", data={"sepal_length": "5"})
    assert answer.status_code == 415
    assert "application/json" in problem(answer)["detail"]


# Results


def test_unknown_id_is_404_and_forgotten_id_is_410(service: Service) -> None:
    assert get(service, "/result/" + "0" * 40).status_code == 404
    assert get(service, "/result/nonsense").status_code == 404
    gone = service.ledger.new_id()
    answer = get(service, f"/result/{gone}")
    assert answer.status_code == 410
    assert problem(answer)["type"].endswith("forgotten-job")


def test_without_wait_a_get_answers_at_once_and_with_it_holds(service: Service, client: Client) -> None:
    trainers = service.children()["train"].children()
    for process in trainers:
        process.suspend()
    try:
        job = client.train()
        since = time.monotonic()
        assert get(service, job.answer["result_url"]).status_code == 202
        assert time.monotonic() - since < 1
        answer = get(service, job.answer["result_url"] + "?wait=1.5")
        assert time.monotonic() - since >= 1.5
        assert answer.status_code == 202
        assert answer.headers["Retry-After"]
    finally:
        for process in trainers:
            process.resume()
    assert job.wait(60)["model"]["name"] == "iris"


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan", "1e9"])
def test_a_wait_out_of_bounds_is_refused(service: Service, client: Client, wait: str) -> None:
    job = client.predict(FLOWER)
    assert get(service, f"/result/{job.id}?wait={wait}").status_code == 422


def test_a_queued_job_can_be_canceled_and_a_final_one_cannot(service: Service, client: Client) -> None:
    family = psutil.Process(service.children()["train"].pid).children(recursive=True)
    for process in family:
        process.suspend()
    try:
        client.train()  # keeps the only training process busy, once it is let go
        job = client.train()
        answer = requests.delete(service.url + job.answer["result_url"], timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
        assert requests.delete(service.url + job.answer["result_url"], timeout=10).status_code == 200
    finally:
        for process in family:
            process.resume()
    final = client.predict(FLOWER)
    final.wait(30)
    answer = requests.delete(service.url + final.answer["result_url"], timeout=10)
    assert (answer.status_code, problem(answer)["type"].split(":")[-1]) == (409, "job-final")
    assert client.result(job.id).status == "canceled"


@pytest.mark.parametrize(
    ("query", "says"),
    [("probs=1", "model, version, proba, extra"), ("proba=maybe", "true or false"), ("version=-1", "a number or an alias")],
)
def test_unknown_query_parameter_error_lists_the_known_ones(service: Service, query: str, says: str) -> None:
    assert says in problem(post(service, f"/predict?{query}", json=FLOWER))["errors"][0]["detail"]


# The rest


def test_models_are_listed_and_shown(service: Service, client: Client) -> None:
    client.predict(FLOWER).wait(60)
    assert "iris" in {model["name"] for model in client.models()}
    shown = client.model("iris")
    assert shown["aliases"]["champion"] in {version["version"] for version in shown["versions"]}
    assert shown["schema"]["properties"]["sepal_length"]["type"] == "number"
    assert get(service, "/models/unheard-of").status_code == 404


def test_health(service: Service) -> None:
    assert get(service, "/health/live").json() == {"status": "live"}
    ready = get(service, "/health/ready").json()
    assert ready["workers"] == {"predict": 2, "train": 1, "webhook": 1}
    assert ready["reconciled_seconds_ago"] < 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/predict", 405), ("GET", "/predict", 405), ("GET", "/result/a/b", 404)],
)
def test_every_error_is_a_problem(service: Service, method: str, path: str, status: int) -> None:
    answer = requests.request(method, service.url + path, timeout=10)
    assert answer.status_code == status
    problem(answer)
    assert status != 405 or "Allow" in answer.headers


def test_128_concurrent_clients_are_all_answered(service: Service, client: Client) -> None:
    """No request waits for a connection to Redis."""
    client.predict(FLOWER).wait(60)

    def send(number: int) -> tuple[int, dict[str, float]]:
        flower = {**FLOWER, "sepal_length": float(number)}
        answer = post(service, "/predict", json=flower, headers={"Prefer": "wait=25"})
        return answer.status_code, answer.json()["result"]["input"]

    with ThreadPoolExecutor(128) as clients:
        answers = list(clients.map(send, range(512)))
    assert answers == [(200, {**FLOWER, "sepal_length": float(number)}) for number in range(512)]


@pytest.mark.slow
def test_an_api_process_stays_small_with_128_clients_waiting(tmp_path: Path, figures: list[str]) -> None:
    """An API process of a fresh service has at most 80 MB resident."""
    service = Service(tmp_path)
    try:
        with nobody_trains(service), ThreadPoolExecutor(128) as clients:
            waits = Client(service.url).train().answer["result_url"] + "?wait=6"
            answers = [clients.submit(get, service, waits) for _ in range(128)]
            api = psutil.Process(service.children()["api"].pid)
            until(lambda: sum(len(p.net_connections("tcp")) for p in [api, *api.children()]) >= 128, 5, "128 clients wait")
            resident = [process.memory_info().rss / 1e6 for process in [api, *api.children()]]
            assert get(service, "/health/live").status_code == 200
            assert {answer.result().status_code for answer in answers} == {202}
    finally:
        service.stop()
    figures.append(f"API processes with 128 clients waiting: {', '.join(f'{size:.0f} MB' for size in resident)} resident")
    assert max(resident) <= 80
