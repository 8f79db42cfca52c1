"""Hostile input is refused at once on every route and costs little memory."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import psutil
import pytest

from tests.callers import Caller
from tests.service import Service

MEASUREMENT = '{"sepal_length":%s,"sepal_width":3.2,"petal_length":1.5,"petal_width":0.3}'
JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
BODIES = {
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "a 5,000-digit integer": (MEASUREMENT % ("9" * 5000)).encode(),
    "5,000 digits and an exponent": (MEASUREMENT % ("-0." + "9" * 5000 + "e9999")).encode(),
    "1e999": (MEASUREMENT % "1e999").encode(),
    "NaN": (MEASUREMENT % "NaN").encode(),
    "lone surrogates": (MEASUREMENT % r'"\ud800"').encode(),
    "a lone surrogate in a name": rb'{"\udfff": 1}',
    "duplicate keys": (MEASUREMENT % "1").replace("{", '{"sepal_length":2,').encode(),
    "a NUL": b'{"model":"\x00"}',
    "9 MB of names": b"{" + b'"a":1,' * 1_500_000 + b'"b":1}',
    "9 MB of empty objects": b"[" + b"{}," * 3_000_000 + b"{}]",
    "a body over the limit": b"[" + b" " * 10_000_000 + b"]",
}
TRAVERSALS = ["..%2f..%2f..%2fetc%2fpasswd", "%2e%2e", "..", ".", "a%2f..%2fb", "%00", "..%5c..%5cx", "%ff%fe", "a" * 5000]


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("path", ["/predict", "/train", "/datasets/nasty", "/models/iris/aliases/challenger"])
def test_hostile_input_is_refused_with_a_problem(anybody: Caller, path: str, what: str) -> None:
    body, method = BODIES[what], "PUT" if "aliases" in path else "POST"
    answer = anybody.request(method, path, data=body, headers=JSON)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < 10_000


def test_much_hostile_input_takes_less_than_50_mb(anybody: Caller, service: Service) -> None:
    """Four requests at a time are repeated, after a first round that fills what stays allocated."""
    process = psutil.Process(service.children()["api"].pid)

    def send(body: bytes) -> int:
        return anybody.post("/predict", data=body, headers=JSON).status_code

    grown: list[float] = []
    with ThreadPoolExecutor(4) as clients:
        for _ in range(3):
            assert {status // 100 for status in clients.map(send, BODIES.values())} == {4}
            grown.append(process.memory_info().rss / 1e6)
    assert grown[-1] - grown[0] <= 50


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_name_escapes_its_folder(anybody: Caller, service: Service, name: str) -> None:
    rows, model = "a,b\n1,2\n", f"/models/{name}"
    calls = [
        *(("GET", path, "") for path in (model, f"{model}/schema", f"{model}/versions/1", f"/models/iris/versions/{name}")),
        *(("GET", path, "") for path in (f"/datasets/{name}", f"/result/{name}", f"/v2/models/{name}")),
        ("PUT", f"/models/iris/aliases/{name}", '{"version": 1}'),
        ("PUT", f"{model}/aliases/challenger", '{"version": 1}'),
        ("POST", f"/models/{name}/rollback", "{}"),
        ("GET", f"/v2/models/{name}/ready", ""),
        ("GET", f"/v2/models/iris/versions/{name}", ""),
        ("GET", f"/v2/models/iris/versions/{name}/ready", ""),
        ("POST", f"/v2/models/{name}/infer", "{}"),
        ("POST", f"/v2/models/iris/versions/{name}/infer", "{}"),
        ("POST", f"/datasets/{name}", rows),
        ("POST", f"/predict?model={name}", "{}"),
        ("POST", f"/predict?version={name}", "{}"),
        ("POST", f"/train?model={name}", rows),
        ("POST", "/train", json.dumps({"model": name})),
        ("POST", "/train", json.dumps({"dataset": name})),
        ("POST", "/train", json.dumps({"estimator": name})),
    ]
    for method, path, body in calls:
        status, text = send_unchanged(service, method, path, body)
        assert 400 <= status < 500, (method, path, text)
        assert "error" in (problem := json.loads(text)) or problem["status"] == status  # V2 has a form of its own
        assert str(service.home) not in text


def send_unchanged(service: Service, method: str, path: str, body: str) -> tuple[int, str]:
    """Send a path as it is; most clients remove dots from it."""
    with closing(HTTPConnection("127.0.0.1", service.settings.port, timeout=10)) as connection:
        connection.request(method, path, body or None, JSON if body.startswith("{") else CSV)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
