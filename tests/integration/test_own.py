"""Another caller's jobs and data sets are answered exactly like ones that never existed."""

import uuid
from typing import Any

import pytest
import requests

from tests.callers import Caller, code
from tests.poison import row
from tests.service import Service

POISON = "/predict?model=poison"
CSV = {"Content-Type": "text/csv"}
ROWS = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))
OTHER_ROWS = "x,y,colour\n" + "".join(f"{n % 7},{n % 5},{'red' if n % 7 > 3 else 'blue'}\n" for n in range(60))
NEVER = "0" * 40


@pytest.fixture(scope="module")
def job(alice: Caller) -> dict[str, Any]:
    """Return a finished job of alice."""
    ended: dict[str, Any] = alice.post(f"{POISON}&label=hers", json=row(1), headers={"Prefer": "wait=30"}).json()
    assert ended["status"] == "succeeded"
    return ended


@pytest.fixture(scope="module")
def name(alice: Caller) -> str:
    """Return the name of a data set of alice, and of a model that she trained on it."""
    name = f"hers{uuid.uuid4().hex[:8]}"
    for path in (f"/datasets/{name}", f"/train?model={name}"):
        ended = alice.post(path, data=ROWS, headers={**CSV, "Prefer": "wait=30"}).json()
        assert ended["status"] == "succeeded", ended
    return name


def looks(answer: requests.Response, *requested: str) -> tuple[int, dict[str, str], str]:
    """Return all that a client sees of a response, without the requested names."""
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in ("date", "content-length")}
    text = answer.text
    for each in requested:
        text = text.replace(each, "<asked>")
    return answer.status_code, headers, text


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/result/{}", {}),
        ("GET", "/result/{}?wait=5", {}),
        ("GET", "/result/{}", {"Accept": "text/event-stream"}),
        ("GET", "/result/{}", {"Accept": "text/event-stream", "Last-Event-ID": "succeeded"}),
        ("HEAD", "/result/{}", {}),
        ("DELETE", "/result/{}", {}),
        ("GET", "/jobs?id={}", {}),
        ("GET", "/jobs?id=nonsense,{}", {}),
    ],
)
def test_another_callers_job_looks_like_one_that_never_was(
    bob: Caller, closed: Service, alice: Caller, job: dict[str, Any], method: str, path: str, headers: dict[str, str]
) -> None:
    mine, forgotten = job["id"], closed.ledger.new_id(alice.id)
    forged = mine[:-1] + ("0" if mine[-1] != "0" else "1")
    seen = {str(looks(bob.request(method, path.format(i), headers=headers), i, NEVER)) for i in (mine, forgotten, forged, NEVER)}
    assert len(seen) == 1, seen
    assert alice.get(f"/result/{mine}").status_code == 200
    assert alice.get(f"/result/{forgotten}").status_code == 410


def test_a_job_that_waits_is_safe_from_others(bob: Caller, alice: Caller) -> None:
    waiting = alice.post(f"{POISON}&expires_in=60", json=row(1, seconds=0.5)).json()
    assert looks(bob.delete(waiting["result_url"]), waiting["id"]) == looks(bob.delete(f"/result/{NEVER}"), NEVER)
    assert alice.end_of(waiting)["status"] == "succeeded"


def test_callers_list_their_own_jobs_and_admins_list_all(
    bob: Caller, alice: Caller, root: Caller, job: dict[str, Any], name: str
) -> None:
    for filters in ("label=hers", f"model={name}", "model=poison&status=succeeded&label=hers", f"kind=dataset&model={name}"):
        assert looks(bob.get(f"/jobs?{filters}")) == looks(bob.get("/jobs?label=never")), filters
        assert alice.get(f"/jobs?{filters}").json()["jobs"], filters
        assert root.get(f"/jobs?{filters}").json()["jobs"], filters
    assert root.get(f"/jobs?id={job['id']},{NEVER}").json()["unknown"] == [NEVER]
    found = root.get(f"/jobs?model={name}&kind=dataset").json()["jobs"]
    assert [each["dataset"]["name"] for each in found] == [name]


def test_admin_can_read_and_cancel_every_listed_job(bob: Caller, root: Caller) -> None:
    """The list has also the first training, which the service started."""
    bob.post("/predict", json=dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), 1))
    listed = root.get("/jobs?limit=1000").json()["jobs"]
    assert "train" in {each["kind"] for each in listed if (each.get("model") or {}).get("name") == "iris"}
    assert {root.get(each["result_url"]).status_code for each in listed} <= {200, 202}
    waiting = bob.post(POISON, json=row(1, seconds=0.4)).json()
    assert root.delete(waiting["result_url"]).status_code in (200, 202)
    assert bob.end_of(waiting)["status"] == "canceled"


def test_pages_of_all_callers_hold_each_job_once(bob: Caller, alice: Caller, root: Caller) -> None:
    label = uuid.uuid4().hex
    made = [caller.post(f"{POISON}&label={label}", json=row(1)).json()["id"] for caller in (alice, bob, bob, root) * 4]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None and len(seen) <= len(made):
        page = root.get(f"/jobs?label={label}&limit=3" + (f"&cursor={cursor}" if cursor else "")).json()
        seen += [each["id"] for each in page["jobs"]]
        cursor = page["cursor"]
    assert seen == made[::-1]


def test_idempotency_keys_belong_to_one_caller(bob: Caller, alice: Caller) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    hers = alice.post(POISON, json=row(1), headers=key)
    his = bob.post(POISON, json=row(2), headers=key)
    assert (hers.status_code, his.status_code) == (202, 202)
    assert "Idempotency-Replayed" not in his.headers
    assert his.json()["id"] != hers.json()["id"]
    again = [caller.post(POISON, json=row(n), headers=key).json()["id"] for caller, n in ((alice, 1), (bob, 2))]
    assert again == [hers.json()["id"], his.json()["id"]]


def test_another_callers_data_set_looks_like_one_that_never_was(bob: Caller, root: Caller, alice: Caller, name: str) -> None:
    never = "x" * len(name)
    for caller in (bob, root):
        for path in ("/datasets/{}", f"/datasets/{alice.id}.{{}}"):
            assert looks(caller.get(path.format(name)), name) == looks(caller.get(path.format(never)), never), path
        answers = [caller.post("/train", json={"model": "own", "dataset": each}) for each in (name, never)]
        assert looks(answers[0], name) == looks(answers[1], never)
        assert code(answers[0]) == "unknown-dataset"
        refused = [caller.post(f"/datasets/{alice.id}.{each}", data=ROWS, headers=CSV) for each in (name, never)]
        assert looks(refused[0], name) == looks(refused[1], never)
        assert name not in caller.get("/datasets").text
    assert alice.get(f"/datasets/{name}").json()["rows"] > 0
    assert alice.get("/datasets").json()["datasets"]


def test_data_sets_of_the_same_name_stay_separate(bob: Caller, alice: Caller, name: str) -> None:
    """Not even an error mentions the columns of the other."""
    before = alice.get(f"/datasets/{name}").json()
    added = bob.post(f"/datasets/{name}", data=OTHER_ROWS, headers={**CSV, "Prefer": "wait=30"})
    assert (added.status_code, added.json()["status"], added.json()["dataset"]["name"]) == (200, "succeeded", name)
    assert set(bob.get(f"/datasets/{name}").json()["types"]) == {"x", "y", "colour"}
    trained = bob.post("/train", json={"model": f"{name}-his", "dataset": name}, headers={"Prefer": "wait=30"}).json()
    assert trained["result"]["dataset"]["name"] == name
    assert set(bob.get(f"/models/{name}-his/schema").json()["properties"]) == {"x", "y"}
    assert alice.get(f"/datasets/{name}").json() == before


def test_jobs_from_before_the_first_key_belong_to_admins(alice: Caller, root: Caller) -> None:
    assert root.get("/datasets/before-keys").json()["rows"] == 60
    trained = root.post("/train", json={"model": "since", "dataset": "before-keys"}, headers={"Prefer": "wait=30"}).json()
    assert trained["status"] == "succeeded", trained
    assert alice.get("/datasets/before-keys").status_code == 404
    answer = alice.post("/train", json={"model": "since", "dataset": "before-keys"})
    assert code(answer) == "unknown-dataset"


def test_another_callers_model_can_be_used_and_trained_without_its_rows(bob: Caller, alice: Caller, name: str) -> None:
    assert bob.post(f"/predict?model={name}", json={"a": 6, "b": 1}, headers={"Prefer": "wait=30"}).json()["result"]
    before = alice.get(f"/datasets/{name}").json()
    again = bob.post("/train", json={"model": name, "promote": "always"}, headers={"Prefer": "wait=30"}).json()
    assert again["status"] == "succeeded", again
    assert alice.get(f"/datasets/{name}").json() == before
    card = bob.get(f"/models/{name}").text
    assert alice.id not in card
    assert alice.id not in str(again)


def test_each_caller_has_a_secret_of_its_own(bob: Caller, alice: Caller, root: Caller) -> None:
    secrets = [caller.get("/webhook-secret").json()["secret"] for caller in (alice, bob, root, alice)]
    assert len(set(secrets)) == 3
    assert bob.post("/webhook-secret").json()["secret"] not in secrets
    assert alice.get("/webhook-secret").json()["secret"] == secrets[0]


def test_deliveries_are_nobodys_jobs(root: Caller, closed: Service) -> None:
    """An admin, who may read all jobs, cannot read them either."""
    name = f"wh-{NEVER}"
    record: dict[Any, Any] = {"kind": "webhook", "state": "delayed", "group": "told.example/0", "rows": 1, "created_at": 1}
    closed.ledger.redis.hset(f"{closed.ledger.prefix}job:{name}", mapping=record)
    assert code(root.get(f"/result/{name}")) == "unknown-job"
    assert root.get(f"/jobs?id={name}").json()["unknown"] == [name]
    closed.ledger.redis.delete(f"{closed.ledger.prefix}job:{name}")
