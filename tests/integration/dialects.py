"""Requests in the protocols of other servers, and the same by POST /predict."""

import json
import random
from typing import Any

import pandas as pd
import requests

from mldeploy.client import Client
from modeler import dataset, table
from models.packaged import packaged_csv
from tests.processes import Pieces
from tests.service import Service

TABLE = dataset.make(table.read(packaged_csv("iris") or b"", "csv"))
NAMES = TABLE.schema.names
ROWS: list[list[float]] = TABLE.features.tolist()
FLOWERS = pd.DataFrame(ROWS, columns=NAMES)
SOME = FLOWERS.iloc[::10].reset_index(drop=True)
FLOWER = dict(zip(NAMES, ROWS[0], strict=True))
IRIS = "/v2/models/iris/infer"
PETS = "/v2/models/pets/infer"
DICE = random.Random(5)
KINDS = ("cat", "dog", "parrot")


def pet() -> dict[str, Any]:
    kind, age = DICE.choice(KINDS), DICE.choice([None, *range(1, 15)])
    found = {"kind": kind, "age": age, "tame": DICE.random() < 0.5, "born": f"20{DICE.randrange(10, 26)}-01-31"}
    return {**found, "fed": found["tame"] and kind != "cat"}


PET_ROWS = [pet() for _ in range(300)]
SOME_PETS = [{name: value for name, value in each.items() if name != "fed"} for each in PET_ROWS[:20]]


def post(url: str, body: Any, content_type: str = "application/json", **headers: str) -> requests.Response:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return requests.post(url, data=data, headers={"Content-Type": content_type, **headers}, timeout=70)


def answer(service: Service | Pieces, path: str, body: Any, content_type: str = "application/json") -> Any:
    found = post(service.url + path, body, content_type)
    assert found.status_code == 200, found.text
    return found.json()


def problem(found: requests.Response, status: int, code: str) -> dict[str, Any]:
    assert found.status_code == status, found.text
    assert found.headers["Content-Type"] == "application/problem+json"
    error: dict[str, Any] = found.json()
    assert error["type"] == f"urn:problem-type:mldeploy:{code}"
    return error


def predicted(client: Client, rows: list[dict[str, Any]], model: str = "iris", **options: Any) -> list[dict[str, Any]]:
    """Predict by POST /predict."""
    found: list[dict[str, Any]] = client.predict(rows, model=model, **options).wait(60)["predictions"]
    return found


def labels(client: Client, rows: list[dict[str, Any]], model: str = "iris") -> list[Any]:
    return [each["prediction"] for each in predicted(client, rows, model)]


def tensor(name: str, data: Any, datatype: str, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def matrix(rows: list[list[float]], flat: bool = False) -> dict[str, Any]:
    data = [value for each in rows for value in each] if flat else rows
    return tensor("anything", data, "FP64", [len(rows), len(rows[0])])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy().tolist()]


def pet_tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    datatypes = {"kind": "BYTES", "age": "FP64", "tame": "BOOL", "born": "BYTES"}
    return [tensor(name, [each[name] for each in rows], datatype) for name, datatype in datatypes.items()]


def train_models(client: Client) -> None:
    """Train iris, a model of text, booleans, dates and gaps with boolean classes, one of integer classes, and a regression."""
    known = {model["name"] for model in client.models()}
    numbers = pd.DataFrame({"a": range(200), "b": [n % 7 for n in range(200)]})
    sent = {
        "pets": pd.DataFrame(PET_ROWS),
        "sevens": numbers.assign(answer=numbers["b"] % 3),
        "sums": numbers.assign(answer=numbers["a"] + numbers["b"] / 2 + 0.25),
    }
    missing = [name for name in sent if name not in known]
    tasks = {"sevens": "classification", "sums": "regression"}
    jobs = [client.train(sent[name].to_csv(index=False), model=name, task=tasks.get(name), promote="always") for name in missing]
    for job in [client.predict(FLOWER), *jobs]:
        job.wait(120)
