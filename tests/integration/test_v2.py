"""The Open Inference Protocol over real HTTP gives the results of POST /predict and of the model itself."""

import json
import sys
from importlib import metadata

import pytest
import requests

from mldeploy.client import Client
from modeler import artifact
from modeler.artifact import open_artifact_store
from models.card import from_json
from models.signing import signing_key
from tests.integration.dialects import (
    FLOWERS,
    IRIS,
    NAMES,
    PETS,
    ROWS,
    SOME,
    SOME_PETS,
    answer,
    labels,
    matrix,
    pet_tensors,
    post,
    predicted,
    problem,
    records,
    tensor,
    train_models,
)
from tests.service import Service

# The request for iris in the examples of MLServer, and that in KServe's guide to it.
MLSERVER = '{"inputs": [{"name": "predict", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4]]}]}'
KSERVE = (
    '{"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}]}'
)


@pytest.fixture(scope="module", autouse=True)
def models(service: Service) -> None:
    train_models(Client(service.url))


@pytest.mark.parametrize("request_body", [MLSERVER, KSERVE])
def test_mlservers_own_requests_for_iris(service: Service, client: Client, request_body: str) -> None:
    response = answer(service, IRIS, request_body)
    rows = json.loads(request_body)["inputs"][0]["data"]
    version = response["model_version"]
    card = from_json(json.dumps(next(c for c in client.model("iris")["versions"] if str(c["version"]) == version)))
    stored = artifact.load(open_artifact_store(str(service.home / "models"), signing_key(service.home, "")), card)
    said = stored.predict(rows).tolist()
    assert said == labels(client, [dict(zip(NAMES, each, strict=True)) for each in rows])
    assert response["model_name"] == "iris"
    assert response["outputs"] == [
        {
            "name": "predict",
            "shape": [len(rows), 1],
            "datatype": "BYTES",
            "data": said,
            "parameters": {"content_type": "np"},
        }
    ]
    assert client.result(response["parameters"]["job_id"]).result["predictions"] == [{"prediction": each} for each in said]
    assert response["parameters"]["result_url"] == f"/result/{response['parameters']['job_id']}"
    assert "id" not in response


@pytest.mark.parametrize("flat", [False, True])
def test_one_tensor_of_rows_and_features(service: Service, client: Client, flat: bool) -> None:
    response = answer(service, IRIS, {"id": "my-own", "inputs": [matrix(ROWS, flat)], "parameters": None, "outputs": None})
    assert response["id"] == "my-own"
    assert response["outputs"][0]["shape"] == [150, 1]
    assert response["outputs"][0]["data"] == labels(client, records(FLOWERS))


def test_a_tensor_for_each_feature(service: Service, client: Client) -> None:
    inputs = [tensor(name, SOME[name].tolist(), "FP32") for name in reversed(NAMES)]
    assert answer(service, IRIS, {"inputs": inputs})["outputs"][0]["data"] == labels(client, records(SOME))


def test_words_booleans_dates_and_gaps(service: Service, client: Client) -> None:
    said = labels(client, SOME_PETS, "pets")
    assert set(said) == {True, False}
    for inputs in (pet_tensors(SOME_PETS), pet_tensors(SOME_PETS)[::-1]):
        (output,) = answer(service, PETS, {"inputs": inputs})["outputs"]
        assert (output["datatype"], output["shape"], output["data"]) == ("BOOL", [20, 1], said)


def test_a_boolean_may_come_as_a_number(service: Service, client: Client) -> None:
    inputs = pet_tensors(SOME_PETS)
    numbers = tensor("tame", [int(each["tame"]) for each in SOME_PETS], "INT8", [20, 1])
    response = answer(service, PETS, {"inputs": [numbers if each["name"] == "tame" else each for each in inputs]})
    assert response["outputs"][0]["data"] == labels(client, SOME_PETS, "pets")


@pytest.mark.parametrize(("model", "datatype"), [("sevens", "INT64"), ("sums", "FP64")])
def test_numbers_as_labels(service: Service, client: Client, model: str, datatype: str) -> None:
    (output,) = answer(service, f"/v2/models/{model}/infer", {"inputs": [tensor("x", [[3, 4], [9, 2]], "INT32", [2, 2])]})[
        "outputs"
    ]
    assert output["datatype"] == datatype
    assert output["data"] == labels(client, [{"a": 3, "b": 4}, {"a": 9, "b": 2}], model)


def test_probabilities_on_request(service: Service, client: Client) -> None:
    request = {"inputs": [matrix(ROWS[::30])], "outputs": [{"name": "predict_proba"}, {"name": "predict"}]}
    shares, said = answer(service, IRIS, request)["outputs"]
    by_hand = predicted(client, records(FLOWERS.iloc[::30]), proba=True)
    assert (shares["name"], shares["datatype"], shares["shape"]) == ("predict_proba", "FP64", [5, 3])
    assert shares["data"] == [share for each in by_hand for share in each["probabilities"].values()]
    assert said["data"] == [each["prediction"] for each in by_hand]
    refused = post(service.url + "/v2/models/sums/infer", {"inputs": [matrix([[1, 2]])], "outputs": [{"name": "predict_proba"}]})
    assert "gives no probabilities" in problem(refused, 422, "invalid-input")["error"]


def test_a_version_by_number_or_alias(service: Service, client: Client) -> None:
    for version in ("1", "champion"):
        response = answer(service, f"/v2/models/iris/versions/{version}/infer", {"inputs": [matrix(ROWS[:2])]})
        assert response["model_version"] == str(client.model("iris")["aliases"]["champion"] if version == "champion" else 1)
        assert len(response["outputs"][0]["data"]) == 2


@pytest.mark.parametrize("path", ["/v2/models/unheard-of", "/v2/models/Iris", "/v2/models/iris/versions/77", "/v2/models/%00"])
def test_unknown_models_and_versions_are_404(service: Service, path: str) -> None:
    code = "unknown-version" if "versions" in path else "unknown-model"
    body = {"inputs": [matrix(ROWS[:1])]}
    for found in (
        requests.get(service.url + path, timeout=10),
        requests.get(service.url + path + "/ready", timeout=10),
        post(service.url + path + "/infer", body),
    ):
        error = problem(found, 404, code)
        assert error["error"] == error["detail"]


def test_the_server_and_its_health(service: Service) -> None:
    said = {path: requests.get(service.url + path, timeout=10).json() for path in ("/v2", "/v2/health/live", "/v2/health/ready")}
    assert said == {
        "/v2": {"name": "mldeploy", "version": metadata.version("mldeploy"), "extensions": []},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
    }


def test_a_models_tensors_are_those_that_it_takes_and_gives(service: Service, client: Client) -> None:
    for path in ("/v2/models/pets", "/v2/models/pets/versions/1"):
        metadata = requests.get(service.url + path, timeout=10).json()
        assert metadata == {
            "name": "pets",
            "versions": ["1"],
            "platform": "sklearn",
            "inputs": [
                {"name": "kind", "datatype": "BYTES", "shape": [-1, 1]},
                {"name": "age", "datatype": "INT64", "shape": [-1, 1]},
                {"name": "tame", "datatype": "BOOL", "shape": [-1, 1]},
                {"name": "born", "datatype": "BYTES", "shape": [-1, 1]},
            ],
            "outputs": [
                {"name": "predict", "datatype": "BOOL", "shape": [-1, 1]},
                {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
            ],
        }
        assert requests.get(f"{service.url}{path}/ready", timeout=10).json() == {"name": "pets", "ready": True}
        inputs = [
            tensor(each["name"], [row[each["name"]] for row in SOME_PETS], each["datatype"], [len(SOME_PETS), 1])
            for each in metadata["inputs"]
        ]
        assert answer(service, PETS, {"inputs": inputs})["outputs"][0]["data"] == labels(client, SOME_PETS, "pets")
    (only,) = requests.get(service.url + "/v2/models/sums", timeout=10).json()["outputs"]
    assert only == {"name": "predict", "datatype": "FP64", "shape": [-1, 1]}


GOOD = tensor("x", [1, 2, 3, 4], "FP32", [1, 4])
REFUSED_TENSORS = {
    "no JSON": ("{", 400, "malformed-input", "truncated"),
    "an empty body": ("", 400, "malformed-input", "truncated"),
    "NaN": (json.dumps({"inputs": [{**GOOD, "data": [float("nan")] * 4}]}), 400, "malformed-input", "JSON"),
    "1e999": (json.dumps({"inputs": [GOOD]}).replace("[1, 2", "[1e999, 2"), 422, "invalid-input", "/inputs/0/data/0: "),
    "a long integer": (
        json.dumps({"inputs": [GOOD]}).replace("[1, 2", f"[{'9' * 5000}, 2"),
        422,
        "invalid-input",
        "/inputs/0/data/0",
    ),
    "nested brackets": (f'{{"inputs": {"[" * 100_000}{"]" * 100_000}}}', 422, "invalid-input", "/inputs/0: "),
    "a name twice": ('{"id": "a", ' + json.dumps({"id": "b", "inputs": [GOOD]})[1:], 422, "invalid-input", "twice"),
    "a name twice in a tensor": (
        json.dumps({"inputs": [GOOD]}).replace('{"name"', '{"name": "y", "name"'),
        422,
        "invalid-input",
        "twice",
    ),
    "a field that there is not": ({"inputs": [GOOD], "more": 1}, 422, "invalid-input", "more"),
    "no inputs": ({"inputs": []}, 422, "invalid-input", "/inputs: "),
    "an output that there is not": (
        {"inputs": [GOOD], "outputs": [{"name": "transform"}]},
        422,
        "invalid-input",
        "/outputs/0/name",
    ),
    "a datatype that there is not": ({"inputs": [{**GOOD, "datatype": "FP8"}]}, 422, "invalid-input", "/inputs/0/datatype"),
    "another shape": ({"inputs": [{**GOOD, "shape": [1, 3]}]}, 422, "invalid-input", "/inputs/0/shape"),
    "fewer values": ({"inputs": [{**GOOD, "shape": [2, 4]}]}, 422, "invalid-input", "/inputs/0/data"),
    "texts": ({"inputs": [{**GOOD, "datatype": "BYTES"}]}, 422, "invalid-input", "/inputs/0/data/0"),
    "text for a number": ({"inputs": [tensor("x", ["1"] * 4, "BYTES", [1, 4])]}, 422, "invalid-input", "/inputs/0/data/0: "),
    "null for a number": ({"inputs": [{**GOOD, "data": [1, 2, 3, None]}]}, 422, "invalid-input", "/inputs/0/data/3: "),
    "another feature": (
        {"inputs": [*[tensor(n, [1], "FP32") for n in NAMES], tensor("z", [1], "FP32")]},
        422,
        "invalid-input",
        "/inputs/4/data/0: unknown field",
    ),
    "too few features": (
        {"inputs": [tensor(n, [1], "FP32") for n in NAMES[1:]]},
        422,
        "invalid-input",
        "/inputs: sepal_length: missing",
    ),
    "10,001 rows": ({"inputs": [matrix([[1, 2, 3, 4]] * 10_001, flat=True)]}, 422, "too-many-rows", "10001"),
    "a long id": ({"inputs": [GOOD], "id": "x" * 201}, 422, "invalid-input", "/id"),
}


@pytest.mark.parametrize("what", REFUSED_TENSORS)
def test_tensors_that_are_refused(service: Service, what: str) -> None:
    body, status, code, says = REFUSED_TENSORS[what]
    assert says in problem(post(service.url + IRIS, body), status, code)["error"]


def test_deeply_nested_data_is_refused(service: Service) -> None:
    """From Python 3.14 on it is read as deeply as the stack allows, and an array is no value."""
    body = json.dumps({"inputs": [GOOD]}).replace("[1, 2, 3, 4]", "[" * 100_000 + "]" * 100_000)
    problem(
        post(service.url + IRIS, body),
        *((400, "malformed-input") if sys.version_info < (3, 14) else (422, "invalid-input")),
    )


def test_binary_tensors_are_refused(service: Service) -> None:
    sent = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}]})
    size = {"Inference-Header-Content-Length": str(len(sent))}
    for content_type in ("application/json", "application/octet-stream"):
        error = problem(post(service.url + IRIS, sent, content_type, **size), 415, "unsupported-media-type")
        assert "JSON" in error["error"]
    problem(post(service.url + IRIS, sent), 422, "invalid-input")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", IRIS, 405), ("GET", "/v2/repository/index", 404), ("POST", "/v2", 405)]
)
def test_errors_of_http_have_the_member_too(service: Service, method: str, path: str, status: int) -> None:
    found = requests.request(method, service.url + path, timeout=10)
    assert (found.status_code, found.json()["error"]) == (status, found.json()["detail"])
