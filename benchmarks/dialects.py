"""How each system is asked for a prediction, and how its answer is read: a generator per connection.

A client yields (pause in seconds, request) and is sent (status, body, seconds that the answer took). It checks every answer
against what was computed beforehand; a wrong one ends the run.
"""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec
from msgspec import Struct

Answer = tuple[int, bytes, float]
Client = Generator[tuple[float, bytes], Answer, None]

POLL_PAUSE = 0.001  # seconds after the last answer
PROBE_PAUSE = 0.005
REFUSED_PAUSE = 0.05
OK, ACCEPTED = 200, 202
WAIT = "Prefer: wait=30\r\n"


class Plan(Struct):
    """``rows`` are measurements by name, ``labels`` what the model says of them; with ``rows_each`` > 1 all go in one array."""

    dialect: str
    port: int
    connections: int
    seconds: float
    rows: list[dict[str, float]]
    labels: list[str]
    model: str = "iris"
    rows_each: int = 1
    warm: float = 1.0
    key: str = ""  # an API key, sent with every request
    probe: str = ""  # path of an unfinished job, which one more connection reads all the time


class Findings:
    """Of jobs that ended after ``starts``."""

    def __init__(self, starts: float) -> None:
        self.starts = starts
        self.times: list[float] = []
        self.polls: list[float] = []  # answers that said "not yet"
        self.all_polls = 0
        self.refused = 0

    def ended(self, since: float) -> None:
        now = time.perf_counter()
        if now >= self.starts:
            self.times.append(now - since)

    def polled(self, seconds: float, *, unfinished: bool) -> None:
        if time.perf_counter() >= self.starts:
            self.all_polls += 1
            if unfinished:
                self.polls.append(seconds)


Dialect = Callable[[Plan, Findings, Iterator[int]], Client]


class WrongAnswer(AssertionError):
    """An answer is not what the model says of the row that was sent."""


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    kind = "Content-Type: application/json\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def check(said: Any, label: Any) -> None:
    if said != label:
        raise WrongAnswer(f"{said!r} is not {label!r}")


def decoded(body: bytes) -> Any:
    return msgspec.json.decode(body)


# Systems that answer at once, or hold the request until they can


def _ask(
    make: Callable[[dict[str, float]], bytes], read: Callable[[Any], Any]
) -> Callable[[Plan, Findings, Iterator[int]], Client]:
    """One request per row; ``read`` gets the label from an answer."""

    def client(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
        requests = [make_for(plan, row) for row in plan.rows]
        pause = 0.0
        while True:
            place, since = next(numbers) % len(requests), time.perf_counter()
            status, body, _ = yield pause, requests[place]
            pause = 0.0
            if status == OK:
                check(read(decoded(body)), plan.labels[place])
                findings.ended(since)
            else:
                findings.refused += 1
                pause = REFUSED_PAUSE

    def make_for(plan: Plan, row: dict[str, float]) -> bytes:
        return make(row).replace(b"MODEL", plan.model.encode())

    return client


def mldeploy_request(row: Any, headers: str) -> bytes:
    return request("POST", "/predict?model=MODEL", msgspec.json.encode(row), headers)


def v2_request(row: dict[str, float]) -> bytes:
    """The Open Inference Protocol, as MLServer takes it."""
    values = list(row.values())
    tensor = {"name": "predict", "shape": [1, len(values)], "datatype": "FP64", "data": values}
    return request("POST", "/v2/models/MODEL/infer", msgspec.json.encode({"inputs": [tensor]}))


def v2_label(answer: Any) -> Any:
    return answer["outputs"][0]["data"][0]


# Systems that are polled


def mldeploy_polled(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
    requests = [mldeploy_request(row, "").replace(b"MODEL", plan.model.encode()) for row in plan.rows]
    while True:
        place, since = next(numbers) % len(requests), time.perf_counter()
        status, body, _ = yield 0.0, requests[place]
        if status != ACCEPTED:
            findings.refused += 1
            continue
        poll = request("GET", decoded(body)["result_url"])
        while True:
            status, body, took = yield POLL_PAUSE, poll
            findings.polled(took, unfinished=status == ACCEPTED)
            if status != ACCEPTED:
                break
        check(decoded(body)["result"]["prediction"], plan.labels[place])
        findings.ended(since)


def tutorial_polled(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
    requests = [request("POST", "/predict", msgspec.json.encode(row)) for row in plan.rows]
    while True:
        place, since = next(numbers) % len(requests), time.perf_counter()
        _, body, _ = yield 0.0, requests[place]
        poll = request("GET", f"/result/{decoded(body)['id']}")
        while True:
            _, body, took = yield POLL_PAUSE, poll
            answer = decoded(body)
            findings.polled(took, unfinished=answer["state"] != "SUCCESS")
            if answer["state"] == "SUCCESS":
                break
        check(answer["prediction"], plan.labels[place])
        findings.ended(since)


def bentoml_polled(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
    requests = [request("POST", "/predict/submit", msgspec.json.encode({"row": list(row.values())})) for row in plan.rows]
    while True:
        place, since = next(numbers) % len(requests), time.perf_counter()
        status, body, _ = yield 0.0, requests[place]
        if status != OK:
            findings.refused += 1
            continue
        name = decoded(body)["task_id"]
        poll = request("GET", f"/predict/status?task_id={name}")
        while True:
            _, body, took = yield POLL_PAUSE, poll
            done = decoded(body)["status"] == "completed"
            findings.polled(took, unfinished=not done)
            if done:
                break
        _, body, _ = yield 0.0, request("GET", f"/predict/get?task_id={name}")
        check(body.decode(), plan.labels[place])  # plain text
        findings.ended(since)


def ray_polled(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
    requests = [request("POST", "/predict", msgspec.json.encode(list(row.values()))) for row in plan.rows]
    while True:
        place, since = next(numbers) % len(requests), time.perf_counter()
        status, body, _ = yield 0.0, requests[place]
        if status != OK:
            findings.refused += 1
            continue
        poll = request("GET", f"/status/{decoded(body)['id']}")
        while True:
            _, body, took = yield POLL_PAUSE, poll
            answer = decoded(body)
            findings.polled(took, unfinished=answer["status"] != "SUCCESS")
            if answer["status"] == "SUCCESS":
                break
        check(answer["result"], plan.labels[place])
        findings.ended(since)


def probe(plan: Plan, findings: Findings) -> Client:
    """Reads a job that does not end while the others are at work."""
    while True:
        status, _, took = yield PROBE_PAUSE, request("GET", plan.probe)
        if status != ACCEPTED:
            raise WrongAnswer(f"the job at {plan.probe} is not unfinished: {status}")
        if time.perf_counter() >= findings.starts:
            findings.polls.append(took)


# Arrays


def mldeploy_array(plan: Plan, findings: Findings, numbers: Iterator[int]) -> Client:
    rows = [plan.rows[place % len(plan.rows)] for place in range(plan.rows_each)]
    labels = [plan.labels[place % len(plan.rows)] for place in range(plan.rows_each)]
    asked = mldeploy_request(rows, WAIT).replace(b"MODEL", plan.model.encode())
    while True:
        next(numbers)
        since = time.perf_counter()
        _, body, _ = yield 0.0, asked
        findings.ended(since)
        check([row["prediction"] for row in decoded(body)["result"]["predictions"]], labels)


DIALECTS: dict[str, Callable[[Plan, Findings, Iterator[int]], Client]] = {
    "mldeploy-waited": _ask(
        lambda row: mldeploy_request(row, "Prefer: wait=30\r\n"), lambda answer: answer["result"]["prediction"]
    ),
    "mldeploy-polled": mldeploy_polled,
    "mldeploy-array": mldeploy_array,
    "tutorial-polled": tutorial_polled,
    "mlserver": _ask(v2_request, v2_label),
    "litserve": _ask(lambda row: request("POST", "/predict", msgspec.json.encode(row)), lambda answer: answer["prediction"]),
    "flask": _ask(lambda row: request("POST", "/predict", msgspec.json.encode(row)), lambda answer: answer["prediction"]),
    "bentoml-polled": bentoml_polled,
    "ray-polled": ray_polled,
}
