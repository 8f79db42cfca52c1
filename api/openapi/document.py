"""The whole document: the routes told once, the models' schemas as they are now."""

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

OF_FLASK = {"HEAD", "OPTIONS"}  # it answers these by itself
SECURITY = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer mld_…`"},
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: mld_…`"},
    "Basic": {"type": "http", "scheme": "basic", "description": "the key as the password, of any user: for browsers"},
}


class Document:
    """Of an app, all of whose routes are there when it is first told."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def told(self, schemas: dict[str, Schema], most_rows: int) -> Json:
        """``schemas`` of the models that there are, by name."""
        told = dict(self._of_routes)
        components = told["components"]
        measured = _measurements(schemas, most_rows)
        told["components"] = components | {"schemas": {**components["schemas"], **measured}}
        return told

    @cached_property
    def _of_routes(self) -> Json:
        operations = Operations()
        operations.forms.schema(Problem)
        paths: dict[str, Json] = {}
        for rule in self._app.url_map.iter_rules():
            view = self._app.view_functions[rule.endpoint]
            methods = (rule.methods or set()) - OF_FLASK if is_described(view) else set()  # and not of the operator's own
            for method in sorted(methods):
                told = operations.told(rule, method, view, operation_of(view))
                paths.setdefault(template(rule.rule), {})[method.lower()] = told
        return {
            "openapi": "3.1.1",
            "info": {"title": "mldeploy", "version": version(), "description": _about()},
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": operations.forms.components,
                "responses": operations.faults.components,
                "headers": headers.ANSWER,
                "securitySchemes": SECURITY,
            },
        }


def template(rule: str) -> str:
    """Flask's spelling of a path in OpenAPI's."""
    return rule.replace("<", "{").replace(">", "}")


def _measurements(schemas: dict[str, Schema], most_rows: int) -> Json:
    """A component per model, and that of the body that may be any of them, or an array of one."""
    told: Json = {f"Measurement.{name}": _measurement(name, schema) for name, schema in schemas.items()}
    bodies: list[Any] = []
    for name in told:
        one = {"$ref": SCHEMAS + name}
        bodies += [one, {"type": "array", "items": one, "minItems": 1, "maxItems": most_rows}]
    body: Json = {"description": "One measurement, or an array of them."}
    return told | {MEASUREMENTS: body | ({"anyOf": bodies} if bodies else {})}


def _measurement(name: str, schema: Schema) -> Json:
    told = {key: value for key, value in schema.json_schema().items() if key != "$schema"}
    example = {feature.name: feature.example for feature in schema.features}
    return {"title": f"Measurement of {name}", **told, "examples": [example]}


def _about() -> str:
    problems = "\n".join(f"| `{TYPE}{code}` | {status} | {title} |" for code, (status, title) in PROBLEMS.items())
    failures = "\n".join(f"| `{TYPE}{code}` | {title} |" for code, title in TITLES.items())
    text = (resources.files("api") / "pages" / "about.md").read_text()
    return text.replace("{problems}", problems).replace("{failures}", failures)
