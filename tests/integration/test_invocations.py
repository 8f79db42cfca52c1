"""MLflow's scoring protocol over real HTTP gives the responses of POST /predict."""

import json
import sys
from importlib import metadata
from typing import Any

import pandas as pd
import pytest
import requests

from mldeploy.client import Client
from tests.integration.dialects import (
    FLOWER,
    FLOWERS,
    IRIS,
    NAMES,
    SOME,
    SOME_PETS,
    answer,
    labels,
    matrix,
    post,
    problem,
    records,
    train_models,
)
from tests.service import Service


@pytest.fixture(scope="module", autouse=True)
def models(service: Service) -> None:
    train_models(Client(service.url))


@pytest.mark.parametrize(
    "form",
    [
        lambda frame: {"dataframe_split": frame.to_dict(orient="split")},
        lambda frame: {"dataframe_split": frame.iloc[:, ::-1].to_dict(orient="split")},
        lambda frame: {"dataframe_records": frame.to_dict(orient="records")},
        lambda frame: {"instances": frame.to_dict(orient="records")},
        lambda frame: {"instances": frame.to_numpy().tolist()},
        lambda frame: {"instances": frame.to_dict(orient="list")},
        lambda frame: {"inputs": frame.to_numpy().tolist()},
        lambda frame: {"inputs": frame.to_dict(orient="list")},
        lambda frame: {"inputs": frame.to_dict(orient="records"), "params": {}},
        lambda frame: {"inputs": frame.to_dict(orient="records"), "params": None},
    ],
)
def test_each_form_of_an_invocation(service: Service, client: Client, form: Any) -> None:
    body = json.dumps(form(SOME), indent=2)
    assert answer(service, "/invocations", body) == {"predictions": labels(client, records(SOME))}


def test_each_form_of_an_invocation_with_words_booleans_dates_and_gaps(service: Service, client: Client) -> None:
    said = {"predictions": labels(client, SOME_PETS, "pets")}
    columns, values = list(SOME_PETS[0]), [list(each.values()) for each in SOME_PETS]
    for body in (
        {"dataframe_split": {"columns": columns, "data": values, "index": list(range(20))}},
        {"dataframe_records": SOME_PETS},
        {"instances": values},
        {"inputs": {name: [each[name] for each in SOME_PETS] for name in columns}},
    ):
        assert answer(service, "/invocations?model=pets", body) == said


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8"])
def test_a_csv_as_pandas_writes_it(service: Service, client: Client, content_type: str) -> None:
    flowers = answer(service, "/invocations", SOME.to_csv(index=False), content_type)
    assert flowers == {"predictions": labels(client, records(SOME))}
    pets = answer(service, "/invocations?model=pets", pd.DataFrame(SOME_PETS).to_csv(index=False), content_type)
    assert pets == {"predictions": labels(client, SOME_PETS, "pets")}


def test_a_version_and_columns_that_are_dropped(service: Service, client: Client) -> None:
    more = SOME.assign(colour="red")
    body = {"dataframe_split": more.to_dict(orient="split")}
    assert answer(service, "/invocations?extra=drop&version=1&model=iris", body) == answer(
        service, "/invocations?version=1", SOME.to_csv(index=False), "text/csv"
    )
    error = problem(post(service.url + "/invocations", body), 422, "invalid-input")
    assert error["message"].startswith("/dataframe_split/data/0/4: unknown field")
    assert error["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_large_invocation(service: Service, client: Client) -> None:
    """It is read in a thread, and done in the lane of large jobs."""
    many = pd.concat([FLOWERS] * 40)
    said = labels(client, records(FLOWERS)) * 40
    assert answer(service, "/invocations", {"instances": many.to_numpy().tolist()}) == {"predictions": said}
    assert answer(service, IRIS, {"inputs": [matrix(many.to_numpy().tolist())]})["outputs"][0]["data"] == said
    assert answer(service, "/invocations", many.to_csv(index=False), "text/csv") == {"predictions": said}


WIDE = {"columns": [f"{n:0200}" for n in range(1000)], "data": [[0] * 1000] * 300}

REFUSED = {
    "names that would fill the memory": ({"dataframe_split": WIDE}, 422, "too-many-rows", "send fewer"),
    "no JSON": ("{", 400, "malformed-input", "truncated"),
    "an empty body": ("", 400, "malformed-input", "truncated"),
    "an array": ([FLOWER], 422, "invalid-input", "object"),
    "no form": ({}, 422, "invalid-input", "exactly one of dataframe_split, dataframe_records, instances, inputs, not none"),
    "two forms": ({"inputs": [FLOWER], "instances": [FLOWER]}, 422, "invalid-input", "not instances and inputs"),
    "a form twice": (f'{{"inputs": [], {json.dumps({"inputs": [FLOWER]})[1:]}', 422, "invalid-input", "inputs comes twice"),
    "a field that there is not": ({"inputs": [FLOWER], "signature_name": "x"}, 422, "invalid-input", "signature_name"),
    "params": ({"inputs": [FLOWER], "params": {"proba": True}}, 422, "invalid-input", "/params: there are no params"),
    "NaN": ({"inputs": [{**FLOWER, "petal_width": float("nan")}]}, 400, "malformed-input", "JSON"),
    "1e999": (json.dumps({"inputs": [[1, 2, 3, 4]]}).replace("4", "1e999"), 422, "invalid-input", "/inputs/0/3: "),
    "1e999 in a record": (
        json.dumps({"inputs": [FLOWER]}).replace("5.1", "1e999"),
        422,
        "invalid-input",
        "/inputs/0/sepal_length",
    ),
    "a field twice": (
        json.dumps({"inputs": [FLOWER]}).replace('{"sepal_l', '{"petal_width":1,"sepal_l'),
        422,
        "invalid-input",
        "twice",
    ),
    "a column twice": ('{"inputs": {"a": [1], "a": [2]}}', 422, "invalid-input", ""),
    "a column of a frame twice": (
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        422,
        "invalid-input",
        "its own",
    ),
    "nested params": (f'{{"inputs": [], "params": {{"a": {"[" * 100_000}{"]" * 100_000}}}}}', 400, "malformed-input", "deep"),
    "no rows": ({"instances": []}, 422, "invalid-input", "empty"),
    "no columns": ({"instances": {}}, 422, "invalid-input", "empty"),
    "a measurement": ({"instances": FLOWER}, 422, "invalid-input", "/instances: expected `array`"),
    "values alone": ({"instances": [1, 2, 3, 4]}, 422, "invalid-input", "/0: expected an object"),
    "a number": ({"instances": 5}, 422, "invalid-input", "/instances: expected an array"),
    "null": ({"inputs": None}, 422, "invalid-input", "/inputs: expected an array"),
    "columns as records": ({"dataframe_records": {"a": [1]}}, 422, "invalid-input", "/dataframe_records: expected an array"),
    "a short row": ({"dataframe_split": {"columns": NAMES, "data": [[1, 2]]}}, 422, "invalid-input", "/dataframe_split/data/0: "),
    "unequal columns": ({"inputs": {"a": [1], "b": []}}, 422, "invalid-input", "/inputs: the columns are not of one length"),
    "text for a number": ({"inputs": [["a", 2, 3, 4]]}, 422, "invalid-input", "/inputs/0/0: expected a number"),
    "10,001 rows": ({"inputs": {"a": [1] * 10_001}}, 422, "too-many-rows", "10001"),
    "10,001 records": ({"instances": [FLOWER] * 10_001}, 422, "too-many-rows", "10001"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_invocations_that_are_refused(service: Service, what: str) -> None:
    body, status, code, says = REFUSED[what]
    error = problem(post(service.url + "/invocations", body), status, code)
    assert says in error["message"]
    assert error["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")


def test_deeply_nested_brackets_are_refused(service: Service) -> None:
    """From Python 3.14 on they are read as deeply as the stack allows, and an array is no value."""
    response = post(service.url + "/invocations", f'{{"inputs": {"[" * 100_000}{"]" * 100_000}}}')
    problem(response, *((400, "malformed-input") if sys.version_info < (3, 14) else (422, "invalid-input")))


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("sepal_length\n1,2\n", "text/csv", 422, "bad-table"),
        ("", "text/csv", 422, "bad-table"),
        ("sepal_length\n1\n", "text/csv", 422, "invalid-input"),
        ("x=1", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
    ],
)
def test_bodies_that_are_no_data(service: Service, body: str, content_type: str, status: int, code: str) -> None:
    assert problem(post(service.url + "/invocations", body, content_type), status, code)["message"]


@pytest.mark.parametrize("query", ["proba=true", "label=x", "model=Iris", "extra=maybe"])
def test_a_query_that_is_not_taken(service: Service, query: str) -> None:
    error = problem(post(f"{service.url}/invocations?{query}", {"inputs": [FLOWER]}), 422, "invalid-input")
    assert error["message"]


def test_an_unknown_model_is_mlflows_too(service: Service) -> None:
    error = problem(post(service.url + "/invocations?model=unheard-of", {"inputs": [FLOWER]}), 404, "unknown-model")
    assert error["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_ping_and_version(service: Service) -> None:
    said = {path: requests.get(service.url + path, timeout=10) for path in ("/ping", "/version")}
    assert {path: found.status_code for path, found in said.items()} == {"/ping": 200, "/version": 200}
    assert {path: found.text for path, found in said.items()} == {"/ping": "\n", "/version": metadata.version("mldeploy")}
