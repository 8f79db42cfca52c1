"""GET /jobs: jobs found again page by page or by ids."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callers import Caller, code
from tests.poison import expected, row
from tests.service import Service
from tests.suspended import nobody_trains

POISON = "/predict?model=poison"
CSV = {"Content-Type": "text/csv"}
ROWS = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))


@pytest.fixture
def label() -> str:
    return f"l{uuid.uuid4().hex}"


def listed(caller: Caller, **filters: Any) -> list[dict[str, Any]]:
    answer = caller.get("/jobs", params=filters)
    assert answer.status_code == 200, answer.text
    jobs: list[dict[str, Any]] = answer.json()["jobs"]
    return jobs


def pages(caller: Caller, **filters: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield pages until there is no cursor, which must come soon."""
    cursor: str | None = ""
    for _ in range(50):
        page = caller.get("/jobs", params={**filters, "cursor": cursor} if cursor else filters).json()
        yield page["jobs"]
        cursor = page["cursor"]
        if cursor is None:
            return
    raise AssertionError("a cursor after 50 pages")


def ids(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["id"] for job in jobs]


def test_each_filter_finds_only_matching_jobs(anybody: Caller, service: Service, label: str) -> None:
    about = {"label": label}
    done = anybody.post(POISON, params=about, json=row(1), headers={"Prefer": "wait=20"}).json()
    failed = anybody.post(POISON, params=about, json=row(1, "raise"), headers={"Prefer": "wait=20"}).json()
    with nobody_trains(service):
        training = anybody.post("/train", params=about, json={"promote": "never"}).json()
        rows = anybody.post(f"/datasets/{label}", params=about, data=ROWS, headers=CSV).json()
        expired = anybody.post("/train", params={**about, "expires_in": 0.2}, json={"promote": "never"}).json()
        anybody.end_of(expired)
        queued = ids(listed(anybody, **about, status="queued"))
        canceled = anybody.delete(training["result_url"]).json()
        anybody.delete(rows["result_url"])
    assert queued == ids([rows, training])
    found = {status: ids(listed(anybody, **about, status=status)) for status in ("succeeded", "failed", "canceled", "expired")}
    assert found == {
        "succeeded": ids([done]),
        "failed": ids([failed]),
        "canceled": ids([rows, canceled]),
        "expired": ids([expired]),
    }
    assert listed(anybody, **about, status="running") == []
    assert ids(listed(anybody, **about, kind="predict")) == ids([failed, done])
    assert ids(listed(anybody, **about, kind="train")) == ids([expired, training])
    assert ids(listed(anybody, kind="dataset", model=label)) == ids([rows])
    assert ids(listed(anybody, **about, model="poison")) == ids([failed, done])
    assert ids(listed(anybody, **about, model="poison", status="failed")) == ids([failed])
    assert listed(anybody, label=label[:-1]) == []
    assert listed(anybody, **about, model="poiso") == []


def test_pages_hold_each_job_once_while_others_come_in(anybody: Caller, label: str) -> None:
    before = [anybody.post(POISON, params={"label": label}, json=row(n)).json()["id"] for n in range(23)]
    seen: list[list[str]] = []
    for page in pages(anybody, label=label, limit=5):
        seen.append(ids(page))
        for n in range(3):
            anybody.post(POISON, params={"label": label}, json=row(n))
    assert [job_id for page in seen for job_id in page] == before[::-1]
    assert all(len(page) <= 5 for page in seen)


def test_a_list_has_no_results_and_many_ids_have(anybody: Caller, service: Service, label: str) -> None:
    jobs = [anybody.post(POISON, params={"label": label}, json=row(n), headers={"Prefer": "wait=20"}).json() for n in range(3)]
    assert all("result" not in job for job in listed(anybody, label=label))
    gone, never = service.ledger.new_id(), "0" * 40
    requested = [jobs[2]["id"], never, jobs[0]["id"], gone, "nonsense", jobs[1]["id"], jobs[2]["id"]]
    body = anybody.get(f"/jobs?id={','.join(requested)}").json()
    assert ids(body["jobs"]) == [jobs[2]["id"], jobs[0]["id"], jobs[1]["id"]]
    assert [job["result"]["prediction"] for job in body["jobs"]] == [expected(2), expected(0), expected(1)]
    assert (body["unknown"], body["forgotten"], body["cursor"]) == ([never, "nonsense"], [gone], None)


def test_a_hundred_ids_at_once_and_no_more(anybody: Caller, label: str) -> None:
    made = [anybody.post(POISON, params={"label": label}, json=row(n)).json()["id"] for n in range(2)] * 50
    assert len(anybody.get(f"/jobs?id={','.join(made)}").json()["jobs"]) == 2
    many = anybody.get("/jobs?id=" + ",".join(f"{n:040x}" for n in range(100)))
    assert len(many.json()["unknown"]) == 100
    refused = anybody.get("/jobs?id=" + ",".join(f"{n:x}" for n in range(101)))
    assert (refused.status_code, code(refused)) == (422, "invalid-input")
    assert "at most 100" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=done", "one of queued, running, succeeded, failed, canceled, expired"),
        ("kind=webhook", "one of predict, train, dataset"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=many", "from 1 to 1000"),
        ("cursor=-1", "the cursor of the page before"),
        ("cursor=x", "the cursor of the page before"),
        (f"cursor={10**20}", "the cursor of the page before"),
        (f"model={'m' * 65}", "the name of a model"),
        ("id=x&label=y", "alone"),
        ("state=queued", "(did you mean status?); there are: status, kind, model, label, cursor, limit, id"),
    ],
)
def test_invalid_queries_are_refused_with_what_is_allowed(anybody: Caller, query: str, says: str) -> None:
    answer = anybody.get(f"/jobs?{query}")
    assert (answer.status_code, code(answer)) == (422, "invalid-input")
    assert says in answer.json()["errors"][0]["detail"]
