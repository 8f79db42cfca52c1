"""Whatever is sent, each event is logged in one line, and a request's traceparent is in the worker's log."""

import re
import warnings
from typing import Any
from urllib.parse import quote

import pytest
from sklearn.base import BaseEstimator

from models.feature import Feature
from models.schema import Schema
from tests.callers import Caller
from tests.poison import register, row
from tests.processes import until
from tests.service import Service

FORGED = "2026-01-01 00:00:00,000 api 1 forged"
NASTY = f"nasty\r\n{FORGED}\n\x1b[31mred\x9b1m\u2028{FORGED}\u2029\x85\x00\ttail"
EVENT = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (api|predict|train|webhook|reconciler) \d+ [^\x00-\x1f\x7f-\x9f\u2028\u2029]*"
)
OF_CELERY = re.compile(  # of its own making, in one line and in these words
    r"(worker: Warm shutdown \(MainProcess\)|\[[^]]+/MainProcess\] Process 'ForkPoolWorker-\d+' pid:\d+ exited with '[^']+')?"
)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01"
SCHEMA = Schema((Feature("x", "number", 0.0),), "y", (0,))


class Warns(BaseEstimator):  # type: ignore[misc]
    def predict(self, rows: Any) -> list[int]:
        warnings.warn(f"warned of {NASTY}", stacklevel=2)
        return [0] * len(rows)


class Refuses(BaseEstimator):  # type: ignore[misc]
    """A model that cannot be loaded."""

    def __setstate__(self, state: Any) -> None:
        raise ImportError(f"refused for {NASTY}")

    def __getstate__(self) -> dict[str, Any]:
        return {"some": "state"}


def log_of(service: Service, part: str) -> str:
    return (service.home / "logs" / f"{part}.log").read_bytes().decode()


def event_with(service: Service, part: str, text: str) -> str:
    """Return the only line of the log with this text, once it is there."""
    (line,) = events_with(service, part, text)
    return line


def events_with(service: Service, part: str, text: str) -> list[str]:
    """Return the lines of the log with this text, once there is one."""
    until(lambda: text in log_of(service, part), 10, f"{part} logs {text}")
    return [line for line in log_of(service, part).split("\n") if text in line]


@pytest.fixture(scope="module", autouse=True)
def models(anybody: Caller, service: Service) -> None:
    for name, estimator in (("warns", Warns()), ("refuses", Refuses())):
        register(service.settings, service.ledger, name, 1, estimator, SCHEMA)


def test_unexpected_error_is_one_line_with_its_traceback(anybody: Caller, service: Service) -> None:
    """The path has every nasty character, and so has the error: Redis holds another type under that name."""
    ledger = service.ledger
    broken = f"{ledger.prefix}model:{NASTY}"
    ledger.redis.set(broken, "no hash")
    try:
        path = "/models/" + quote(NASTY, safe="")
        answer = anybody.get(path)
    finally:
        ledger.redis.delete(broken)
    assert answer.status_code == 500
    assert "WRONGTYPE" not in answer.text
    line = event_with(service, "api", "WRONGTYPE")
    assert EVENT.fullmatch(line)
    assert "Traceback" in line
    assert "nasty" in line


def test_output_of_a_model_is_one_line(anybody: Caller, service: Service) -> None:
    waiting = anybody.post("/predict?model=refuses", json={"x": 1}).json()
    anybody.post("/predict?model=warns", json={"x": 1}, headers={"Prefer": "wait=20"})
    for text in ("refuses/1: ImportError: refused for nasty", "warned of nasty"):
        for line in events_with(service, "predict", text):  # of each worker process that tried
            assert EVENT.fullmatch(line), line
            assert line.count(FORGED) == 2
            assert r"\r\n" in line
    anybody.delete(waiting["result_url"])


def test_output_of_a_training_is_one_line(anybody: Caller, service: Service) -> None:
    options = {"promote": "never", "estimator": "DecisionTreeClassifier", "params": {"criterion": NASTY}}
    ended = anybody.post("/train", json=options, headers={"Prefer": "wait=30"}).json()
    assert ended["status"] == "failed"
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", ended["error"]["detail"])
    assert EVENT.fullmatch(event_with(service, "train", "nasty"))


def test_the_trace_of_a_request_is_in_the_workers_log(anybody: Caller, service: Service) -> None:
    jobs = [
        anybody.post("/predict?model=poison&label=traced", json=row(n), headers={"traceparent": TRACE.format(n + 1)}).json()
        for n in range(3)
    ]
    training = anybody.post("/train", json={"promote": "never"}, headers={"traceparent": TRACE.format(9)}).json()
    for number, job in enumerate(jobs):
        line = event_with(service, "predict", f"job {job['id']} ")
        assert line.endswith(f"succeeded traceparent={TRACE.format(number + 1)}")
    assert event_with(service, "train", f"job {training['id']} ").endswith(f"traceparent={TRACE.format(9)}")


@pytest.mark.parametrize(
    "traceparent", ["nonsense", TRACE.format(1).upper(), TRACE.format(0), "ff" + TRACE.format(1)[2:], TRACE.format(1) + "-x"]
)
def test_invalid_traceparent_is_left_out(anybody: Caller, service: Service, traceparent: str) -> None:
    job = anybody.post("/predict?model=poison", json=row(1), headers={"traceparent": traceparent, "Prefer": "wait=20"}).json()
    assert job["status"] == "succeeded"
    assert job["id"] not in log_of(service, "predict")


def test_every_line_of_every_log_is_one_event(anybody: Caller, service: Service) -> None:
    """These are the lines of all tests of this service so far, whose requests had nasty characters everywhere."""
    url = quote(NASTY)
    for path in (f"/{url}", f"/result/{url}", f"/predict?model={url}", f"/datasets/{url}", f"/jobs?label={url}&id={url}"):
        for method in ("GET", "POST", "DELETE"):
            anybody.request(method, path, data=NASTY.encode(), headers={"Content-Type": "text/csv"})
    for header in ("Prefer", "Accept", "Last-Event-ID", "Idempotency-Key", "Origin", "Authorization", "Content-Type", "Cookie"):
        anybody.post("/predict", data=b"{}", headers={header: "nasty\t\x9b1m\u2028".encode()})
    for part in ("api", "predict", "train", "webhook", "reconciler"):
        lines = [line for line in log_of(service, part).split("\n") if not OF_CELERY.fullmatch(line)]
        assert [line for line in lines if not EVENT.fullmatch(line)] == [], part
