"""The whole document: the routes are described once, the schemas of the models each time."""

from functools import cached_property
from importlib import resources
from typing import Any

from flask import Flask

from api.http.operation import is_described, operation_of
from api.http.problems import PROBLEMS, Problem
from api.openapi import headers
from api.openapi.operations import Operations
from api.openapi.schemas import MEASUREMENTS, SCHEMAS, Json
from api.version import version
from jobs.failures import TITLES, TYPE
from models.schema import Schema

FLASK_METHODS = {"HEAD", "OPTIONS"}  # methods that Flask answers itself
SECURITY = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer mld_…`"},
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: mld_…`"},
    "Basic": {"type": "http", "scheme": "basic", "description": "the key as the password, of any user: for browsers"},
}


class Document:
    """Describes an app. All routes must be registered before the first call of ``build``."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def build(self, schemas: dict[str, Schema], max_rows: int) -> Json:
        """``schemas``: those of the existing models, by name."""
        document = dict(self._routes)
        components = document["components"]
        measurement_components = _measurement_components(schemas, max_rows)
        document["components"] = components | {"schemas": {**components["schemas"], **measurement_components}}
        return document

    @cached_property
    def _routes(self) -> Json:
        operations = Operations()
        operations.schemas.schema(Problem)
        paths: dict[str, Json] = {}
        for rule in self._app.url_map.iter_rules():
            view = self._app.view_functions[rule.endpoint]
            methods = (
                (rule.methods or set()) - FLASK_METHODS if is_described(view) else set()
            )  # routes of the operator are left out
            for method in sorted(methods):
                described = operations.describe(rule, method, view, operation_of(view))
                paths.setdefault(template(rule.rule), {})[method.lower()] = described
        return {
            "openapi": "3.1.1",
            "info": {"title": "mldeploy", "version": version(), "description": _description()},
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": operations.schemas.components,
                "responses": operations.problems.components,
                "headers": headers.RESPONSE,
                "securitySchemes": SECURITY,
            },
        }


def template(rule: str) -> str:
    """Converts Flask's syntax of a path to OpenAPI's."""
    return rule.replace("<", "{").replace(">", "}")


def _measurement_components(schemas: dict[str, Schema], max_rows: int) -> Json:
    """A component per model, and one of the body: a measurement of any of them, or an array."""
    components: Json = {f"Measurement.{name}": _measurement(name, schema) for name, schema in schemas.items()}
    bodies: list[Any] = []
    for name in components:
        reference = {"$ref": SCHEMAS + name}
        bodies += [reference, {"type": "array", "items": reference, "minItems": 1, "maxItems": max_rows}]
    body: Json = {"description": "One measurement, or an array of them."}
    return components | {MEASUREMENTS: body | ({"anyOf": bodies} if bodies else {})}


def _measurement(name: str, schema: Schema) -> Json:
    properties = {key: value for key, value in schema.json_schema().items() if key != "$schema"}
    example = {feature.name: feature.example for feature in schema.features}
    return {"title": f"Measurement of {name}", **properties, "examples": [example]}


def _description() -> str:
    problems = "\n".join(f"| `{TYPE}{code}` | {status} | {title} |" for code, (status, title) in PROBLEMS.items())
    failures = "\n".join(f"| `{TYPE}{code}` | {title} |" for code, title in TITLES.items())
    text = (resources.files("api") / "pages" / "about.md").read_text()
    return text.replace("{problems}", problems).replace("{failures}", failures)
