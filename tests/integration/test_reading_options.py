"""How a table is read can be said and looked at, over real HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from mldeploy.client import Client, Problem
from tests.commands import mldeploy
from tests.service import Service

SHOPS = "zip;turnover;open;y\n" + "".join(
    f"{10115 + n % 7};{n % 90},5;{n % 28 + 1}.{n % 12 + 1}.2025;{n % 2}\n" for n in range(120)
)
TYPES = {"zip": "category", "open": "ignore"}


@pytest.fixture(scope="module")
def client(service: Service) -> Client:
    return Client(service.url)


def test_a_look_reports_each_column_and_stores_nothing(client: Client) -> None:
    found = client.add_rows("looked-at", SHOPS, look=True).wait(60)
    assert {column["name"]: column["type"] for column in found["columns"]} == {
        "zip": "integer",
        "turnover": "number",
        "open": "date",
        "y": "integer",
    }
    assert "semicolons" in found["notes"][0]
    assert found["rows"] == 120
    with pytest.raises(Problem):
        client.dataset("looked-at")


def test_the_command_looks_and_says_its_doubts(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "shops.csv"
    file.write_text(SHOPS)
    completed = mldeploy("datasets", "look", str(file), "--type", "zip=category", "--url", service.url)
    assert completed.returncode == 0, completed.stderr
    columns = {column["name"]: column for column in json.loads(completed.stdout)["columns"]}
    assert (columns["zip"]["type"], columns["zip"]["why"]) == ("category", "as was said")
    wrong = mldeploy("datasets", "look", str(file), "--type", "zip", "--url", service.url)
    assert "COLUMN=TYPE" in wrong.stderr


def test_what_is_said_is_remembered_with_the_data_set(client: Client) -> None:
    result = client.train(SHOPS, model="shops", types=TYPES, promote="always", task="classification").wait(60)
    assert [column["type"] for column in result["columns"]] == ["category", "number", "ignore", "integer"]
    assert result["warnings"][0].startswith("it predicts 'y', the last column")
    more = SHOPS.replace("\n10", "\n20")
    added = client.add_rows("shops", more).wait(60)
    assert added["rows"] == 240
    again = client.train(model="shops", promote="never").wait(60)
    assert again["dataset"]["rows"] == 240
    sent_anew = client.train(SHOPS + "10115;1,5;1.1.2025;1\n", model="shops", promote="never").wait(60)
    assert [column["type"] for column in sent_anew["columns"]] == ["category", "number", "ignore", "integer"]
    row = {"zip": "10116", "turnover": 3.5, "open": "1.1.2025"}
    assert client.predict(row, model="shops").wait(30)["prediction"] in (0, 1)


def test_rows_without_a_target_are_left_out_and_counted(client: Client) -> None:
    table = "a,y\n" + "".join(f"{n},{'' if n % 10 == 0 else n % 2}\n" for n in range(100))
    result = client.train(table, model="gaps", target="y").wait(60)
    assert result["dataset"]["rows"] == 90
    assert any("10 of 100 rows have no value of 'y'" in warning for warning in result["warnings"])


def test_an_encoding_is_read_as_is_said_and_refused_at_the_door_otherwise(service: Service, client: Client) -> None:
    body = ("city,a,y\n" + "".join(f"{'Köln' if n % 2 else 'Bern'},{n % 9},{n % 2}\n" for n in range(60))).encode("cp1252")
    refused = requests.post(f"{service.url}/train?model=cities", data=body, headers={"Content-Type": "text/csv"}, timeout=30)
    assert refused.status_code == 422
    assert "encoding=cp1252" in refused.json()["detail"]
    job = client.train(body.decode("cp1252"), model="cities", target="y").wait(60)
    query = f"{service.url}/train?model=cities&encoding=cp1252&target=y"
    sent = requests.post(query, data=body, headers={"Content-Type": "text/csv", "Prefer": "wait=30"}, timeout=60).json()
    assert sent["result"]["columns"] == job["columns"]


def test_options_for_reading_need_a_table(client: Client) -> None:
    with pytest.raises(Problem, match="send it with the table"):
        client.train(model="shops", types=TYPES)


@pytest.mark.parametrize("option", [{"types": {"zip": "colour"}}, {"decimal": ";"}, {"dayfirst": "perhaps"}, {"delimiter": "x"}])
def test_options_that_cannot_be_are_refused_at_the_door(client: Client, option: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        client.train(SHOPS, model="shops", **option)
    assert refused.value.status == 422
