"""However the application is served, the responses are the same, byte for byte."""

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from mldeploy.client import Client
from tests.operators import FRIEND
from tests.processes import free_port, until
from tests.service import Service

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent.parent
FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
CSV = "sepal_length,sepal_width,petal_length,petal_width\n5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n"
WAIT = {"Prefer": "wait=10"}
SERVERS = {
    "our own server": [sys.executable, "-P", "-m", "api"],
    "gunicorn": [str(BIN / "gunicorn"), "--threads", "8", "--bind", "127.0.0.1:PORT", "api:create_app()"],
    "flask run": [str(BIN / "flask"), "--app", "api", "run", "--port", "PORT"],
    "waitress": [str(BIN / "waitress-serve"), "--listen", "127.0.0.1:PORT", "--call", "api:create_app"],
}
OF_THE_SERVER = {"Date", "Server", "Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive", "Via", "X-Wrapped"}


@contextmanager
def served(service: Service, server: str, app: str = "") -> Iterator[str]:
    """Serve the application beside the running service, on its Redis."""
    port = free_port()
    settings = service.settings.replace(home=str(service.home), app=app, port=port).with_embedded_redis()
    command = [part.replace("PORT", str(port)) for part in SERVERS[server]]
    log = service.home / f"{server}.log"
    environment = settings.environment() | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or is_live(url), 30, f"{server} answers")
            assert process.poll() is None, log.read_text()
            yield url
        finally:
            process.terminate()


def is_live(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def ways(service: Service) -> Iterator[dict[str, str]]:
    """Return URLs by way; the first is that of the service itself."""
    with ExitStack() as stack:
        yield {
            "the service": service.url,
            "our own server with hooks": stack.enter_context(served(service, "our own server", "tests.operators:hooked")),
            "our own server with middleware": stack.enter_context(served(service, "our own server", "tests.operators:wrapped")),
            **{name: stack.enter_context(served(service, name)) for name in ("gunicorn", "flask run", "waitress")},
        }


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


VARYING = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b01[0-9a-f]{6}[-0-9a-zA-Z_]{20,}")


def said(answer: requests.Response) -> Said:
    """Return the response without times, ids and the server's own headers."""
    headers = {name: VARYING.sub("…", value) for name, value in answer.headers.items() if name not in OF_THE_SERVER}
    body = re.sub(r'"worker":"[^"]*"|"reconciled_seconds_ago":[\d.]+', "…", VARYING.sub("…", answer.text))
    return Said(answer.status_code, headers, body)


def send(url: str, method: str, path: str, **options: Any) -> Said:
    return said(requests.request(method, url + path, timeout=40, **options))


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "health": ("GET", "/health/live", {}),
    "its head": ("HEAD", "/health/live", {}),
    "readiness": ("GET", "/health/ready", {}),
    "methods": ("OPTIONS", "/predict", {}),
    "no route": ("GET", "/nowhere", {}),
    "another method": ("PUT", "/predict", {}),
    "a slash too many": ("GET", "/models/", {}),
    "two slashes": ("GET", "//models", {}),
    "a prediction": ("POST", "/predict", {"json": FLOWER, "headers": WAIT}),
    "probabilities": ("POST", "/predict?proba=true", {"json": [FLOWER, FLOWER], "headers": WAIT}),
    "a file": ("POST", "/predict", {"data": CSV, "headers": {**WAIT, "Content-Type": "text/csv"}}),
    "chunks": ("POST", "/predict", {"headers": WAIT}),
    "a field too many": ("POST", "/predict", {"json": {**FLOWER, "colour": 1}}),
    "no JSON": ("POST", "/predict", {"data": "{", "headers": {"Content-Type": "application/json"}}),
    "no body": ("POST", "/predict", {}),
    "another type": ("POST", "/predict", {"data": "x", "headers": {"Content-Type": "text/plain"}}),
    "compressed": ("POST", "/predict", {"data": gzip.compress(b"{}"), "headers": {"Content-Encoding": "gzip"}}),
    "too large": ("POST", "/predict", {"data": b"x" * 10_000_001}),
    "no such version": ("POST", "/predict?version=99", {"json": FLOWER}),
    "no such model": ("POST", "/predict?model=nobody", {"json": FLOWER}),
    "an option too many": ("POST", "/predict?colour=1", {"json": FLOWER}),
    "a bad Idempotency-Key": ("POST", "/predict", {"json": FLOWER, "headers": {"Idempotency-Key": "ä".encode()}}),
    "no such job": ("GET", "/result/0190b5a0-0000-7000-8000-000000000000-0000", {}),
    "models": ("GET", "/models", {}),
    "a model": ("GET", "/models/iris", {}),
    "a path with escapes": ("GET", "/models/%C3%A4%20b", {}),
    "the document": ("GET", "/openapi.json", {}),
    "the page": ("GET", "/docs", {}),
    "a file of the page": ("GET", "/docs/swagger-ui.css", {}),
    "another protocol": ("GET", "/v2/models/iris", {}),
    "another protocol's error": ("GET", "/v2/models/nobody", {}),
    "a prediction by MLflow": ("POST", "/invocations", {"json": {"dataframe_records": [FLOWER]}}),
    "a foreign page": ("GET", "/models", {"headers": {"Origin": "https://evil.example"}}),
    "a proxy for this machine": ("GET", "/models", {"headers": {"X-Forwarded-For": "127.0.0.1"}}),
    "a foreign host": ("GET", "/models", {"headers": {"Host": "evil.example"}}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_way_gives_the_same_answer(ways: dict[str, str], name: str) -> None:
    method, path, options = REQUESTS[name]
    answers = {}
    for way, url in ways.items():
        again = {**options, "data": iter(CHUNKS)} if name == "chunks" else options
        answers[way] = send(url, method, path, **again)
    first = answers["the service"]
    assert first.status < 500
    assert {way: answer for way, answer in answers.items() if answer != first} == {}, first


CHUNKS = [b'{"sepal_length": 5.1, "sepal_width": 3.5, ', b'"petal_length": 1.4, "petal_width": 0.2}']


def test_a_repeated_request_gets_the_first_answer(ways: dict[str, str]) -> None:
    headers = {"Idempotency-Key": "one for all ways"}
    first, *others = [requests.post(f"{url}/predict", json=FLOWER, headers=headers, timeout=40) for url in ways.values()]
    assert first.status_code == 202
    assert {(other.json()["id"], other.headers["Idempotency-Replayed"]) for other in others} == {(first.json()["id"], "true")}
    reused = [requests.post(f"{url}/predict", json=[FLOWER], headers=headers, timeout=40) for url in ways.values()]
    assert {answer.status_code for answer in reused} == {422}


def test_a_job_is_read_waited_for_streamed_and_kept_from_being_canceled(ways: dict[str, str]) -> None:
    job = Client(ways["the service"]).predict(FLOWER)
    job.wait(30)
    path = f"/result/{job.id}"
    for method, query, headers in (
        ("GET", "", {}),
        ("GET", "?wait=5", {}),
        ("GET", "", {"Accept": "text/event-stream"}),
        ("GET", "", {"Accept": "text/event-stream", "Last-Event-ID": "succeeded"}),
        ("DELETE", "", {}),
    ):
        answers = [said(requests.request(method, url + path + query, headers=headers, timeout=40)) for url in ways.values()]
        assert answers == [answers[0]] * len(answers)


def test_forwarded_request_of_another_machine_is_refused(ways: dict[str, str]) -> None:
    """waitress hides the headers of proxies from the application unless it is configured to trust them."""
    headers = {"X-Forwarded-For": "192.0.2.1"}
    answers = {way: requests.get(f"{url}/models", headers=headers, timeout=40) for way, url in ways.items() if way != "waitress"}
    assert {answer.status_code for answer in answers.values()} == {401}


def test_middleware_is_around_every_answer(ways: dict[str, str]) -> None:
    url = ways["our own server with middleware"]
    assert {requests.get(url + path, timeout=40).headers.get("X-Wrapped") for path in ("/health/live", "/nowhere")} == {"yes"}


def test_a_route_alone_is_served_beside_ours(service: Service) -> None:
    with served(service, "our own server", "tests.operators:a_route") as url:
        assert requests.get(f"{url}/hello?name=you", timeout=40).text == "hello you"
        assert requests.get(f"{url}/hello", timeout=40).status_code == 400
        assert requests.get(f"{url}/nowhere", timeout=40).status_code == 404


# What an operator adds, under our own server and under gunicorn


@pytest.fixture(scope="module", params=["our own server", "gunicorn"])
def operated(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(service, request.param, "tests.operators:own") as url:
        yield url


def test_a_hook_sees_every_request_and_may_answer_it(operated: str) -> None:
    blocked = requests.post(f"{operated}/predict", json=FLOWER, headers={"X-Blocked": "1"}, timeout=40)
    assert (blocked.status_code, blocked.json()["blocked"]) == (451, blocked.request.body.decode())  # type: ignore[union-attr]
    assert blocked.headers["X-Operator"] == "predict.predict"
    let_in = requests.post(f"{operated}/predict", json=FLOWER, headers=WAIT, timeout=40)
    assert (let_in.status_code, let_in.json()["result"]["prediction"]) == (200, "setosa")
    assert let_in.headers["X-Operator"] == "predict.predict"


def test_pages_of_another_origin_may_call_as_flask_cors_says(operated: str) -> None:
    sends = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    preflight = requests.options(f"{operated}/predict", headers=sends, timeout=40)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, FRIEND)
    foreign = requests.options(f"{operated}/predict", headers={**sends, "Origin": "https://evil.example"}, timeout=40)
    assert "Access-Control-Allow-Origin" not in foreign.headers
    problem = requests.get(f"{operated}/models/nobody", headers={"Origin": FRIEND}, timeout=40)
    assert problem.headers["Access-Control-Allow-Origin"] == FRIEND


def test_routes_of_the_operators_own_are_served(operated: str) -> None:
    assert requests.get(f"{operated}/hello/you", timeout=40).text == "hello you"
    assert requests.get(f"{operated}/hello-async", timeout=40).json() == {"hello": "/hello-async"}
    assert requests.post(f"{operated}/hello/you", timeout=40).status_code == 405


def test_error_handlers_of_the_operator_answer_and_unhandled_errors_are_problems(operated: str) -> None:
    handled = requests.get(f"{operated}/broken", timeout=40)
    assert (handled.status_code, handled.text) == (418, "sorry: broken")
    unforeseen = requests.get(f"{operated}/odd", timeout=40)
    assert (unforeseen.status_code, unforeseen.text) == (500, "unforeseen: odd")


def test_an_http_exception_keeps_its_response_its_headers_and_its_words(operated: str) -> None:
    mine, later = (requests.get(f"{operated}/{path}", timeout=40) for path in ("mine", "later"))
    assert (mine.status_code, mine.text) == (409, "mine")
    assert (later.status_code, later.headers["Retry-After"], later.json()["detail"]) == (429, "77", "later")


def test_unknown_status_is_passed_on(operated: str) -> None:
    assert requests.get(f"{operated}/teapot", timeout=10).status_code == 799


def test_hooks_cannot_be_bypassed(operated: str) -> None:
    """Neither an offer to upgrade, which Flask's routing treats as another route, nor a header in another spelling bypasses
    them."""
    tricks: tuple[dict[str, str], ...] = ({}, {"Connection": "Upgrade", "Upgrade": "websocket"}, {"X_Remote_User": "boss"})
    answers = [requests.get(f"{operated}/datasets", headers=headers, timeout=40) for headers in tricks]
    assert {answer.status_code for answer in answers} <= {400, 403}
    assert requests.get(f"{operated}/datasets", headers={"X-Remote-User": "boss"}, timeout=40).status_code == 200


def test_a_view_of_the_operators_gets_the_cookies_as_they_came(operated: str) -> None:
    found = requests.get(f"{operated}/cookies", headers={"Cookie": 'a="1,2"; b=3'}, timeout=40)
    assert found.json() == {"a": "1,2", "b": "3"}


def test_stream_of_the_operator_arrives_piece_by_piece_and_delays_nobody(operated: str) -> None:
    with requests.get(f"{operated}/slow-stream", stream=True, timeout=40) as stream:
        lines = stream.iter_lines(chunk_size=1)
        assert next(lines) == b"data: 0"
        assert requests.get(f"{operated}/health/live", timeout=40).status_code == 200
        assert [line for line in lines if line] == [b"data: 1", b"data: 2"]


def test_an_upload_to_a_route_of_the_operators_is_bounded_too(operated: str) -> None:
    assert requests.post(f"{operated}/upload", data=b"x" * 1000, timeout=40).json() == {"got": 1000}
    assert requests.post(f"{operated}/upload", data=b"x" * 10_000_001, timeout=40).status_code == 413


def test_a_route_of_ours_stays_ours(operated: str) -> None:
    assert "models" in requests.get(f"{operated}/models", timeout=40).json()


def test_preflight_returns_only_the_methods(operated: str) -> None:
    key = {"Idempotency-Key": "asked before"}
    assert requests.post(f"{operated}/predict", json=FLOWER, headers=key, timeout=40).status_code == 202
    sends = {"Origin": FRIEND, "Access-Control-Request-Method": "POST", **key}
    assert requests.options(f"{operated}/predict", headers=sends, timeout=40).status_code == 204


def test_document_has_our_routes_alone(operated: str) -> None:
    paths = requests.get(f"{operated}/openapi.json", timeout=40).json()["paths"]
    assert "/predict" in paths
    assert not any(path.startswith("/hello") for path in paths)
