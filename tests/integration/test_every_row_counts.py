"""Rows are added over HTTP: like ones count, the same table comes in once, a key replaces."""

import uuid
from itertools import product

import pytest

from mldeploy.client import Client, Problem
from tests.callers import Caller, code
from tests.service import Service

CSV = {"Content-Type": "text/csv"}
PATIENCE = 60.0
KINDS = list(product(("1st", "2nd", "3rd"), ("adult", "child"), ("male", "female"), "CQS"))


def passengers(count: int, first: int = 0) -> str:
    """Return a table of categories, with 72 distinct rows."""
    rows = [(*KINDS[n % len(KINDS)], "yes" if n % 5 < 2 else "no") for n in range(first, first + count)]
    return "class,age,sex,port,survived\n" + "".join(",".join(row) + "\n" for row in rows)


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url)


@pytest.fixture
def name() -> str:
    return f"rows-{uuid.uuid4().hex[:8]}"


def test_200_further_passengers_of_a_table_of_categories_really_come_in(client: Client, name: str) -> None:
    trained = client.train(passengers(1100), model=name, target="survived", promote="always").wait(PATIENCE)
    assert trained["dataset"]["rows"] == 1100
    added = client.add_rows(name, passengers(200, first=1100)).wait(PATIENCE)
    assert (added["added"], added["duplicates"], added["rows"]) == (200, 0, 1300)
    assert client.train(model=name).wait(PATIENCE)["dataset"]["rows"] == 1300


def test_table_of_a_training_is_known_when_it_is_added(client: Client, name: str) -> None:
    client.train(passengers(300), model=name, target="survived", promote="always").wait(PATIENCE)
    added = client.add_rows(name, passengers(300)).wait(PATIENCE)
    assert (added["added"], added["duplicates"], added["rows"], added["same_file"]) == (0, 300, 300, True)
    assert "again=true" in added["warnings"][0]
    again = client.add_rows(name, passengers(300), again=True).wait(PATIENCE)
    assert (again["added"], again["rows"]) == (300, 600)


def test_request_that_is_repeated_with_its_idempotency_key_is_still_one_job(anybody: Caller, name: str) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=30", **CSV}
    answers = [anybody.post(f"/datasets/{name}?again=true", data=passengers(40), headers=key).json() for _ in range(2)]
    assert answers[0]["id"] == answers[1]["id"]
    assert anybody.get(f"/datasets/{name}").json()["rows"] == 40


def test_key_is_shown_and_replaces_over_http(client: Client, name: str) -> None:
    first = client.add_rows(name, 'id,"a,b",y\n1,x,1\n2,y,2\n', key=["id", "a,b"]).wait(PATIENCE)
    assert (first["added"], client.dataset(name)["key"]) == (2, ["id", "a,b"])
    second = client.add_rows(name, 'id,"a,b",y\n1,x,5\n1,z,6\n2,y,2\n').wait(PATIENCE)
    assert {field: second[field] for field in ("added", "replaced", "unchanged", "rows")} == {
        "added": 1,
        "replaced": 1,
        "unchanged": 1,
        "rows": 3,
    }


def test_training_with_a_table_for_a_keyed_data_set_trains_on_the_last_row_of_each_key(client: Client, name: str) -> None:
    rows = "id,a,y\n" + "".join(f"{n},{n % 7},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))
    client.add_rows(name, rows, key="id").wait(PATIENCE)
    trained = client.train(rows + "5,1,low\n", model=name, target="y", promote="always").wait(PATIENCE)
    assert trained["dataset"]["rows"] == 60
    assert "1 rows were left out: by id, the key of the data set, a later one counts" in trained["warnings"]
    assert client.dataset(name)["key"] == ["id"]


@pytest.mark.parametrize(
    ("query", "problem", "says"),
    [
        ("key=number", "bad-table", "there is no column number of the key"),
        ("key=[]", "invalid-input", "the name of a column, or a JSON array"),
        ("key=[1]", "invalid-input", "the name of a column, or a JSON array"),
        ("key=[%22a", "invalid-input", "the name of a column, or a JSON array"),
        ("key=a&dedupe=true", "invalid-input", "give one or the other"),
        ("again=perhaps", "invalid-input", "true or false"),
    ],
)
def test_bad_options_of_an_addition_are_refused_at_the_door(
    anybody: Caller, name: str, query: str, problem: str, says: str
) -> None:
    answer = anybody.post(f"/datasets/{name}?{query}", data="a,b\n1,2\n", headers=CSV)
    assert (answer.status_code, code(answer)) == (422, problem)
    assert says in answer.text


def test_key_that_the_table_lacks_fails_the_job_in_other_formats(client: Client, name: str) -> None:
    job = client._submit(f"datasets/{name}", {"key": "c"}, "", "", "application/x-ndjson", data=b'{"a":1,"b":2}\n')
    with pytest.raises(Problem, match="no column 'c' of the key"):
        job.wait(PATIENCE)
