"""The OpenAPI document against the service, and the page that shows it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import create_app
from api.http.problems import PROBLEMS
from api.openapi.document import FLASK_METHODS, template
from api.openapi.operations import SCHEMES
from api.routes.jobs import JobsQuery
from jobs.failures import TYPE
from mldeploy.client import Client
from models.packaged import packaged_schema
from settings import Settings
from tests.callers import Caller
from tests.poison import publish
from tests.processes import Pieces, until
from tests.service import Service

ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript",
}
OF_NO_ROUTE = {"method-not-allowed", "internal-error"} | {
    "bad-request",
    "slow-request",
    "address-too-long",
    "head-too-large",
    "expectation-failed",
}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(service: Service) -> Document:
    return document_of(service.url)


def document_of(url: str) -> Document:
    answer = requests.get(f"{url}/openapi.json", timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    found: Document = answer.json()
    return found


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def operation(document: Document, name: str) -> Document:
    return next(each for _, _, each in operations(document) if each["operationId"] == name)


def test_document_has_every_route_and_no_other(document: Document) -> None:
    routes = [
        (template(rule.rule), method)
        for rule in create_app().url_map.iter_rules()
        for method in (rule.methods or set()) - FLASK_METHODS
    ]
    assert sorted(routes) == sorted((path, method) for path, method, _ in operations(document))


def test_document_is_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_each_operation_has_a_name_of_its_own_and_says_what_it_does(document: Document) -> None:
    found = [each for _, _, each in operations(document)]
    names = [each["operationId"] for each in found]
    assert len(set(names)) == len(names)
    assert all(each["summary"] and each["tags"] and each["description"] for each in found)


def test_path_parameters_have_patterns(document: Document) -> None:
    for path, _, each in operations(document):
        path_parameters = {parameter["name"]: parameter for parameter in each["parameters"] if parameter["in"] == "path"}
        assert set(path_parameters) == set(re.findall(r"{(\w+)}", path))
        assert all(parameter["required"] for parameter in path_parameters.values())
        assert all("pattern" in parameter["schema"] or "enum" in parameter["schema"] for parameter in path_parameters.values())


def test_query_parameters_are_those_that_are_checked(document: Document) -> None:
    parameters = {each["name"]: each for each in operation(document, "list_jobs")["parameters"] if each["in"] == "query"}
    assert set(parameters) == {field.encode_name for field in msgspec.structs.fields(JobsQuery)}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert parameters["kind"]["schema"]["enum"] == ["dataset", "predict", "train"]


def test_security_is_documented(document: Document) -> None:
    assert set(document["components"]["securitySchemes"]) == set(SCHEMES)
    assert operation(document, "live")["security"] == operation(document, "ready")["security"] == []
    assert operation(document, "list_models")["security"] == [{scheme: []} for scheme in SCHEMES]
    assert operation(document, "train")["security"] == [{scheme: ["train"]} for scheme in SCHEMES]
    assert "`train`" in operation(document, "train")["description"]


def test_every_problem_is_documented_where_it_can_occur(document: Document) -> None:
    responses = document["components"]["responses"]
    documented = {code for name in responses for code in name.split(".")[1:]}
    assert documented == set(PROBLEMS) - OF_NO_ROUTE
    for name, response in responses.items():
        status, *codes = name.split(".")
        narrowed = response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
        assert narrowed == {"type": {"enum": [TYPE + code for code in codes]}, "status": {"const": int(status)}}
    assert all(code in document["info"]["description"] for code in PROBLEMS)


def test_submission_documents_where_its_job_is(document: Document) -> None:
    accepted = operation(document, "predict")["responses"]["202"]
    assert {"Location", "Retry-After"} <= set(accepted["headers"])
    assert accepted["links"]["result"]["operationId"] == "result"


def test_measurement_schema_has_an_example_that_is_accepted(document: Document, service: Service) -> None:
    schema = document["components"]["schemas"]["Measurement.iris"]
    packaged = packaged_schema("iris")
    assert packaged is not None
    assert list(schema["properties"]) == packaged.names
    answer = requests.post(f"{service.url}/predict", json=schema["examples"][0], headers={"Prefer": "wait=30"}, timeout=40)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_new_model_is_documented_soon(client: Client, service: Service) -> None:
    table = "length,colour,kind\n" + "".join(f"{length},red,a\n{length + 100},blue,b\n" for length in range(40))
    client.train(table.encode(), model="coloured").wait(60)
    until(lambda: "Measurement.coloured" in document_of(service.url)["components"]["schemas"], 10, "the new model is told")
    schemas = document_of(service.url)["components"]["schemas"]
    assert schemas["Measurement.coloured"]["properties"]["colour"]["enum"] == ["blue", "red"]
    one = {"$ref": "#/components/schemas/Measurement.coloured"}
    assert one in schemas["Measurements"]["anyOf"]
    assert {"type": "array", "items": one, "minItems": 1, "maxItems": 10_000} in schemas["Measurements"]["anyOf"]


def test_document_is_served_without_redis(tmp_path: Path) -> None:
    pieces = Pieces(Settings(), tmp_path)
    try:
        redis = pieces.redis()
        publish(pieces)
        pieces.api()
        assert "Measurement.poison" in document_of(pieces.url)["components"]["schemas"]
        redis.kill()
        until(lambda: "Measurement.poison" not in document_of(pieces.url)["components"]["schemas"], 10, "it does without Redis")
        assert "Measurement.iris" in document_of(pieces.url)["components"]["schemas"]
        assert requests.get(f"{pieces.url}/docs", timeout=10).status_code == 200
    finally:
        pieces.stop()


def test_the_page_loads_nothing_from_elsewhere(service: Service) -> None:
    page = requests.get(f"{service.url}/docs", timeout=10)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert re.findall(r'(?:src|href)="([^"]*)"', page.text) == re.findall(r'(?:src|href)="(/docs/[^"]*)"', page.text)
    assert re.findall(r"<script[^>]*>([^<]+)", page.text) == []
    assert "persistAuthorization: true" in requests.get(f"{service.url}/docs/start.js", timeout=10).text


def test_the_pages_assets_are_those_alone(service: Service) -> None:
    page = requests.get(f"{service.url}/docs", timeout=10).text
    assert set(re.findall(r"/docs/([\w.-]+)\?", page)) == set(ASSETS)
    for name, kind in ASSETS.items():
        answer = requests.get(f"{service.url}/docs/{name}", timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert "max-age" in answer.headers["Cache-Control"]
    for name in ("index.html", "start.js.map", "%2e%2e", "..%2f..%2fdocs.py", "%2e%2e%2fpages%2fstart.js", "x%00"):
        assert requests.get(f"{service.url}/docs/{name}", timeout=10).status_code == 404


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js"])
def test_head_is_answered_as_get(service: Service, path: str) -> None:
    head, get = (requests.request(method, service.url + path, timeout=10) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("query", ["status=null", "cursor=null", "status=", "limit="])
def test_empty_parameter_is_not_treated_as_missing(service: Service, query: str) -> None:
    answer = requests.get(f"{service.url}/jobs?{query}", timeout=10)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{query.partition('=')[0]}"), answer.text


def test_integers_may_be_written_as_json_schema_allows(service: Service) -> None:
    url = f"{service.url}/models/iris/aliases/written"
    sent = [requests.put(url, data=f'{{"version": {version}}}', timeout=10) for version in ("999.0", "999.5")]
    assert [answer.json()["type"] for answer in sent] == [TYPE + "unknown-version", TYPE + "invalid-input"]


def test_allowed_methods_of_open_routes_are_shown_without_a_key(closed: Service, alice: Caller) -> None:
    nobody = Caller(closed.url)
    assert [nobody.request("TRACE", path).status_code for path in ("/health/live", "/predict", "/docs")] == [405, 401, 401]
    assert alice.request("TRACE", "/predict").status_code == 405


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js"])
def test_the_document_and_its_page_take_any_key(closed: Service, alice: Caller, path: str) -> None:
    assert [caller.get(path).status_code for caller in (Caller(closed.url), alice)] == [401, 200]
