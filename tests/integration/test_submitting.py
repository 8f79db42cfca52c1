"""Options of a submission: waiting, label, deadline; and Idempotency-Key, under which a request is one job."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
import requests

from settings import Settings
from tests.callers import Caller, code
from tests.integration.jobs import accept_nothing
from tests.poison import expected, row, without_workers
from tests.processes import Pieces, until
from tests.service import Service
from tests.suspended import nobody_trains

POISON = "/predict?model=poison"
TABLE = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers and with 250 rows at most in a lane."""
    with without_workers(Settings(lane_rows=250), tmp_path_factory.mktemp("line")) as pieces:
        yield pieces


@pytest.fixture
def waiting(line: Pieces) -> Caller:
    return Caller(line.url)


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def under(key: str, **headers: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **headers}


def at_once(many: int, send_one: Any) -> list[requests.Response]:
    start = threading.Barrier(many)

    def send(number: int) -> requests.Response:
        start.wait()
        answer: requests.Response = send_one(number)
        return answer

    with ThreadPoolExecutor(many) as clients:
        return list(clients.map(send, range(many)))


# Waiting


@pytest.mark.parametrize(
    ("prefer", "status", "applied"),
    [
        ("", 202, None),
        ("handling=lenient", 202, None),
        ("respond-async", 202, "respond-async"),
        ("wait=20", 200, "wait=20"),
        ("respond-async, wait=20", 200, "wait=20"),
        ("wait=soon", 202, None),
        ("Wait=20", 200, "wait=20"),
        ("wait=20; soon, wait=0", 200, "wait=20"),  # of two the first counts
        ('RESPOND-ASYNC;x=1, wait="0"', 202, "respond-async"),
    ],
)
def test_preferences_are_applied_and_confirmed(anybody: Caller, prefer: str, status: int, applied: str | None) -> None:
    answer = anybody.post(POISON, json=row(3), headers={"Prefer": prefer} if prefer else {})
    assert (answer.status_code, answer.headers.get("Preference-Applied")) == (status, applied)
    assert ("Retry-After" in answer.headers, "Location" in answer.headers) == (status == 202, status == 202)
    assert status == 202 or answer.json()["result"]["prediction"] == expected(3)


def test_preferences_on_lines_of_their_own_are_one_list(line: Pieces) -> None:
    connection = HTTPConnection("127.0.0.1", line.settings.port, timeout=20)
    connection.putrequest("POST", POISON)
    body = json.dumps(row(3)).encode()
    for name, value in (("Prefer", "respond-async"), ("Prefer", "wait=1"), ("Content-Length", str(len(body)))):
        connection.putheader(name, value)
    connection.endheaders(body)
    with closing(connection), connection.getresponse() as answer:
        assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait=1, respond-async")
        assert Caller(line.url).delete(answer.headers["Location"]).status_code == 200


def test_a_wait_that_runs_out_answers_202_and_where_to_go_on(anybody: Caller) -> None:
    answer = anybody.post(POISON, json=row(4, seconds=1.5), headers={"Prefer": "respond-async, wait=1"})
    job = answer.json()
    assert (answer.status_code, job["status"], answer.headers["Preference-Applied"]) == (202, "running", "wait=1, respond-async")
    assert answer.headers["Location"] == job["result_url"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert anybody.end_of(job)["result"]["prediction"] == expected(4)


def test_retry_after_grows_with_what_waits_before_it(line: Pieces, waiting: Caller) -> None:
    """Without workers it is a few seconds; with workers it follows the speed of the lane."""
    job = waiting.post(POISON, json=row(0)).json()
    assert waiting.get(job["result_url"]).headers["Retry-After"] == "5"
    ledger = line.ledger
    ledger.redis.set(f"{ledger.prefix}speed:predict.small", 0.1)
    ledger.renew("predict", ["somebody"])
    later = waiting.post(POISON, json=row(1))
    assert later.headers["Retry-After"] == waiting.get(later.json()["result_url"]).headers["Retry-After"] == "20"
    assert [waiting.delete(each["result_url"]).status_code for each in (job, later.json())] == [200, 200]
    ledger.redis.zrem(f"{ledger.prefix}owners:predict", "somebody")


# Label and deadline


def test_a_label_is_shown_wherever_the_job_is(anybody: Caller) -> None:
    label = "Ångström & co; {not json}"
    job = anybody.post(POISON, params={"label": label}, json=row(5), headers={"Prefer": "wait=20"}).json()
    found = anybody.get("/jobs", params={"label": label}).json()["jobs"]
    assert {each["label"] for each in (job, anybody.get(job["result_url"]).json(), *found)} == {label}
    assert anybody.post("/predict?model=poison&label={}", json=row(5)).json()["label"] == "{}"


def test_a_job_expires_while_no_worker_runs(waiting: Caller) -> None:
    jobs = [waiting.post(f"{POISON}&expires_in={seconds}", json=row(6)).json() for seconds in (0.6, 0.0001)]
    assert all(job["expires_at"] >= job["created_at"] for job in jobs)
    for job in jobs:
        ended = waiting.end_of(job)
        assert (ended["status"], ended["error"]["type"].rpartition(":")[2]) == ("expired", "expired")
        assert ended["finished_at"] >= job["expires_at"]
        assert "started_at" not in ended
        assert "result" not in ended


def test_queued_job_expires_while_the_worker_is_busy_and_a_started_one_does_not(anybody: Caller, service: Service) -> None:
    busy = []
    for number in range(2):  # one for each process: one after the other, since what waits together is claimed together
        busy.append(anybody.post(f"{POISON}&expires_in=2", json=row(number, seconds=3)).json())
        until(lambda: anybody.get(busy[-1]["result_url"]).json()["status"] == "running", 5, "it runs")
    late = anybody.post(f"{POISON}&expires_in=0.5", json=row(8)).json()
    assert anybody.get(late["result_url"]).json()["position"] == 1
    assert anybody.end_of(late)["status"] == "expired"
    assert {anybody.get(each["result_url"]).json()["status"] for each in busy} == {"running"}
    assert {anybody.end_of(each)["status"] for each in busy} == {"succeeded"}


@pytest.mark.parametrize(
    ("query", "pointer", "says"),
    [
        ("expires_in=0", "/expires_in", "more than 0 and at most 604800"),
        ("expires_in=604801", "/expires_in", "more than 0 and at most 604800"),
        ("expires_in=nan", "/expires_in", "more than 0 and at most 604800"),
        ("expires_in=tomorrow", "/expires_in", "more than 0 and at most 604800"),
        (f"label={'x' * 101}", "/label", "at most 100 printable characters"),
        ("label=a%0Ab", "/label", "at most 100 printable characters"),
        ("label=a%E2%80%A8b", "/label", "at most 100 printable characters"),
        ("label=%1B[31m", "/label", "at most 100 printable characters"),
        ("webhook=nonsense", "/webhook", "must begin with https://"),
        ("labels=x", "", "there are: label, expires_in, webhook"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/train", "/datasets/refused"])
def test_invalid_options_are_refused_with_what_is_allowed(
    anybody: Caller, path: str, query: str, pointer: str, says: str
) -> None:
    body = {"data": TABLE, "headers": {"Content-Type": "text/csv"}} if path != "/predict" else {"json": row(1)}
    answer = anybody.post(f"{path}?{query}", **body)
    assert (answer.status_code, code(answer)) == (422, "invalid-input")
    error = answer.json()["errors"][0]
    assert error["pointer"] == pointer
    assert says in error["detail"] or (path == "/train" and not pointer and "there is no option labels" in error["detail"])


# Idempotency-Key


def test_a_repeat_is_the_same_job_with_the_same_status_also_when_it_has_finished(anybody: Caller, key: str) -> None:
    first = anybody.post(POISON, json=row(11, seconds=0.3), headers=under(key))
    second = anybody.post(POISON, json=row(11, seconds=0.3), headers=under(key))
    assert "Idempotency-Replayed" not in first.headers
    end = anybody.end_of(first.json())
    third = anybody.post(POISON, json=row(11, seconds=0.3), headers=under(key))
    assert [each.status_code for each in (first, second, third)] == [202] * 3
    assert {each.json()["id"] for each in (first, second, third)} == {first.json()["id"]}
    assert {each.headers["Location"] for each in (first, second, third)} == {first.json()["result_url"]}
    assert [each.headers["Idempotency-Replayed"] for each in (second, third)] == ["true", "true"]
    assert third.json() == end
    waited = anybody.post(POISON, json=row(11, seconds=0.3), headers=under(key, Prefer="wait=9"))
    assert (waited.status_code, waited.headers["Preference-Applied"], waited.json()) == (200, "wait=9", end)
    assert "input" in end["result"]


def test_200_concurrent_repeats_are_20_jobs(anybody: Caller) -> None:
    keys = [str(uuid.uuid4()) for _ in range(20)]
    label = keys[0]

    def send(number: int) -> requests.Response:
        return anybody.post(f"{POISON}&label={label}", json=row(number % 20), headers=under(keys[number % 20], Prefer="wait=20"))

    answers = [answer for _ in range(5) for answer in at_once(40, send)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 20
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 20
    assert {(answer.json()["result"]["input"]["number"]) for answer in answers} == {float(n) for n in range(20)}
    assert len(anybody.get(f"/jobs?label={label}").json()["jobs"]) == 20


def test_one_of_two_concurrent_requests_under_one_key_is_accepted(anybody: Caller, key: str) -> None:
    answers = at_once(10, lambda number: anybody.post(POISON, json=row(number), headers=under(key)))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 9
    assert {code(answer) for answer in answers if answer.status_code == 422} == {"idempotency-key-reused"}


@pytest.mark.parametrize(
    "other",
    [
        {"json": row(12)},
        {"params": {"label": "x"}, "json": row(11)},
        {"data": json.dumps(row(11), indent=1)},
        {"json": row(11), "headers": {"Content-Type": "application/vnd.x+json"}},
    ],
)
def test_another_request_under_the_key_is_refused(anybody: Caller, key: str, other: dict[str, Any]) -> None:
    assert anybody.post(POISON, json=row(11), headers=under(key)).status_code == 202
    answer = anybody.post(POISON, **{**other, "headers": under(key, **other.get("headers", {}))})
    assert (answer.status_code, code(answer)) == (422, "idempotency-key-reused")


def test_the_key_of_one_route_is_not_free_for_another(anybody: Caller, key: str) -> None:
    assert anybody.post(POISON, json=row(11), headers=under(key)).status_code == 202
    assert code(anybody.post("/train", json={}, headers=under(key))) == "idempotency-key-reused"


def test_trainings_rows_and_forms_with_a_new_boundary_are_repeated_too(anybody: Caller, service: Service) -> None:
    name = f"again-{uuid.uuid4().hex[:8]}"
    form = {"file": ("rows.csv", TABLE, "text/csv")}
    csv: dict[str, Any] = {"data": TABLE, "headers": {"Content-Type": "text/csv"}}
    submissions: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/train", {"json": {"model": "iris", "promote": "never"}}),
        (f"/train?model={name}", csv),
        ("/train", {"files": form, "data": {"model": name}}),
        (f"/datasets/{name}", csv),
        (f"/datasets/{name}", {"files": form}),
    )
    for path, body in submissions:
        headers = under(str(uuid.uuid4()), **body.get("headers", {}))
        with nobody_trains(service):
            answers = [anybody.post(path, **{**body, "headers": headers}) for _ in range(3)]
            assert [each.status_code for each in answers] == [202] * 3, answers[-1].text
            assert len({each.json()["id"] for each in answers}) == 1
            assert "Idempotency-Replayed" in answers[2].headers
            assert anybody.delete(answers[0].json()["result_url"]).json()["status"] == "canceled"


def test_the_key_is_looked_up_before_limits(line: Pieces, waiting: Caller, key: str) -> None:
    rows = [row(n) for n in range(200)]
    first = waiting.post(POISON, json=rows, headers=under(key))
    refused = waiting.post(POISON, json=rows)
    assert (refused.status_code, code(refused)) == (429, "lane-full")
    assert int(refused.headers["Retry-After"]) >= 1

    def between_rounds_of_the_reconciler() -> bool:
        accept_nothing(line.ledger, "there is no room")
        full, again = waiting.post(POISON, json=row(1)), waiting.post(POISON, json=rows, headers=under(key))
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        return (full.status_code, code(full), "Retry-After" in full.headers) == (503, "full", True)

    until(between_rounds_of_the_reconciler, 10, "a submission is refused for want of room")
    line.ledger.redis.delete(f"{line.ledger.prefix}memory")
    waiting.delete(first.json()["result_url"])


def test_the_key_is_looked_up_before_the_alias_and_the_input_are(anybody: Caller, key: str) -> None:
    alias = f"a{key[:8]}"
    anybody.request("PUT", f"/models/poison/aliases/{alias}", json={"version": 1})
    first = anybody.post(f"{POISON}&version={alias}", json=row(1), headers=under(key))
    assert anybody.delete(f"/models/poison/aliases/{alias}").status_code == 200
    assert anybody.post(f"{POISON}&version={alias}", json=row(1)).status_code == 404
    again = anybody.post(f"{POISON}&version={alias}", json=row(1), headers=under(key))
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_a_refused_request_leaves_its_key_free(anybody: Caller, key: str) -> None:
    assert anybody.post(POISON, json={}, headers=under(key)).status_code == 422
    assert anybody.post(POISON, json=row(1), headers=under(key)).status_code == 202


@pytest.mark.parametrize("bad", [b"", b"x" * 256, b"a\tb", b"\xff", "schlüssel".encode(), b"\xc2\x85"])
def test_invalid_key_is_refused(anybody: Caller, service: Service, bad: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", service.settings.port, timeout=10)
    body = json.dumps(row(1)).encode()
    connection.request("POST", POISON, body, {"Idempotency-Key": bad})
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["type"].endswith("bad-idempotency-key")
    connection.close()


def test_255_characters_are_a_key(anybody: Caller, key: str) -> None:
    long = (key * 8)[:255]
    answers = [anybody.post(POISON, json=row(1), headers=under(long)) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert "id" in anybody.post(POISON, json=row(1), headers=under(long[:254])).json()


def test_waiting_repeats_block_nobody_else(waiting: Caller, key: str) -> None:
    """There are more of them than concurrent writes beside reads; a cancel must still get through."""
    job = waiting.post(POISON, json=row(1), headers=under(key)).json()
    with ThreadPoolExecutor(24) as clients:
        wait = under(key, Prefer="wait=20")
        repeats = [clients.submit(waiting.post, POISON, json=row(1), headers=wait) for _ in range(24)]
        assert {waiting.get(job["result_url"]).status_code for _ in range(100)} == {202}
        assert waiting.delete(job["result_url"]).status_code == 200
        assert {repeat.result().json()["status"] for repeat in repeats} == {"canceled"}


def test_only_the_boundary_of_a_form_is_left_out_of_the_fingerprint(waiting: Caller, key: str) -> None:
    headers = {**under(key), "Content-Type": "application/json; boundary=5"}
    first, other = (json.dumps(row(number)) for number in (5, 55))
    assert waiting.post(POISON, data=first, headers=headers).status_code == 202
    assert code(waiting.post(POISON, data=other, headers=headers)) == "idempotency-key-reused"
