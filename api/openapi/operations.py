"""Describes a route in OpenAPI: its parameters, its body, its responses."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct
from werkzeug.routing import Rule

from api.http.operation import Media, Operation
from api.openapi import headers
from api.openapi.problem_responses import ProblemResponses, codes_of
from api.openapi.schemas import Json, Schemas, one_line

TAGS = {
    "predict": "predictions",
    "train": "training",
    "datasets": "training",
    "result": "jobs",
    "listing": "jobs",
    "webhook_secret": "jobs",
    "models": "models",
    "aliases": "models",
    "health": "operations",
    "docs": "operations",
    "v2": "other protocols",
    "infer": "other protocols",
    "invocations": "other protocols",
}
TOO_LONG = {"414": {"description": "The address is longer than 64 kB."}}
SCHEMES = ("Bearer", "X-API-Key", "Basic")
LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}, "description": text}
    for name, text in (("result", "the job, and its result when it has ended"), ("cancel", "cancel the job"))
}


class Operations:
    """Describes routes. The components that they share are collected in ``schemas`` and ``problems``."""

    def __init__(self) -> None:
        self.schemas = Schemas()
        self.problems = ProblemResponses()

    def describe(self, rule: Rule, method: str, view: Callable[..., Any], operation: Operation) -> Json:
        blueprint = rule.endpoint.partition(".")[0]
        described: Json = {
            "operationId": view.__name__,
            "tags": [TAGS.get(blueprint, blueprint.replace("_", " "))],
            "summary": operation.summary,
            "description": _description(view, operation),
            "security": [] if operation.access == "open" else [{scheme: _roles(operation)} for scheme in SCHEMES],
            "parameters": [*self._path(view, rule), *self._query(operation), *_headers(operation)],
            "responses": self._responses(operation)
            | (TOO_LONG if operation.query else {})
            | self.problems.responses(codes_of(operation, method, bool(rule.arguments))),
        }
        if operation.takes:
            described["requestBody"] = {
                "required": not operation.body_optional,
                "content": self._content(operation.takes, operation.example),
            }
        return described

    def _path(self, view: Callable[..., Any], rule: Rule) -> list[Json]:
        hints = get_type_hints(view, include_extras=True)
        names = re.findall(r"<(?:\w+:)?(\w+)>", rule.rule)
        return [_parameter("path", name, self.schemas.schema(hints[name])) | {"required": True} for name in names]

    def _query(self, operation: Operation) -> list[Json]:
        return [self._field(field) for struct in operation.query for field in msgspec.structs.fields(struct)]

    def _field(self, field: msgspec.structs.FieldInfo) -> Json:
        schema = _without_null(self.schemas.schema(field.type))
        if field.default not in (msgspec.NODEFAULT, None, ""):
            schema = schema | {"default": field.default}
        parameter = _parameter("query", field.encode_name, schema)
        if schema.get("type") == "object":  # is sent as JSON
            del parameter["schema"]
            parameter["content"] = {"application/json": {"schema": schema}}
        return parameter

    def _responses(self, operation: Operation) -> Json:
        return {str(status): self._response(operation, status, types) for status, types in operation.responses.items()}

    def _response(self, operation: Operation, status: int, types: Any) -> Json:
        response: Json = {"description": _status_text(status), "headers": _response_headers(operation, status)}
        if types is not None:
            is_several = isinstance(types, tuple) and not isinstance(types, Media)
            response["content"] = self._content(types if is_several else (types,))
        if operation.submits:
            response["links"] = LINKS
        return response

    def _content(self, types: tuple[Any, ...], example: Any = None) -> Json:
        """By media type."""
        content: Json = {}
        for each in types:
            media = each if isinstance(each, Media) else Media("application/json", each)
            content[media.type] = {} if media.content is None else {"schema": self.schemas.schema(media.content)}
        if example is not None:
            content["application/json"]["example"] = example
        return content


def _description(view: Callable[..., Any], operation: Operation) -> str:
    """The docstrings of the view and of its query, and who may call it."""
    types: tuple[type[Struct], ...] = operation.query
    texts = [view.__doc__, *(struct.__doc__ for struct in types), _access(operation)]
    return "\n\n".join(one_line(text) for text in texts if text)


def _access(operation: Operation) -> str:
    if operation.access == "open":
        return "Takes no key."
    if operation.access in ("any", "public"):
        return "Any key may."
    return f"Takes a key with the scope `{operation.access}`."


def _roles(operation: Operation) -> list[str]:
    return [] if operation.access in ("any", "public") else [operation.access]


def _headers(operation: Operation) -> list[Json]:
    names = (*(headers.SUBMISSION if operation.submits else ()), *operation.headers)
    known_headers = headers.REQUEST if operation.submits else headers.REQUEST | headers.WAITING
    return [{"name": name, "in": "header", **known_headers[name]} for name in names]


def _response_headers(operation: Operation, status: int) -> Json:
    names = ["Location"] if status == HTTPStatus.ACCEPTED else []
    names += ["Retry-After"] if status in (HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE) else []
    if operation.submits or "Prefer" in operation.headers:
        names.append("Preference-Applied")
    if operation.submits:
        names.append("Idempotency-Replayed")
    if operation.access != "open":
        names += headers.RATE_LIMIT
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(place: str, name: str, schema: Json) -> Json:
    """Moves the description of the schema to the parameter."""
    parameter: Json = {"name": name, "in": place, "schema": {key: value for key, value in schema.items() if key != "description"}}
    return parameter | ({"description": schema["description"]} if "description" in schema else {})


def _without_null(schema: Json) -> Json:
    """The schema without null: a parameter that is present is never null."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _status_text(status: int) -> str:
    if status == HTTPStatus.ACCEPTED:
        return "The job is not done yet: get it at `Location`, after `Retry-After` seconds."
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "It is not ready."
    return "No further events." if status == HTTPStatus.NO_CONTENT else "Done."
