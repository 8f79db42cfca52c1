"""A route as OpenAPI tells it: its parameters, its body, its answers."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct
from werkzeug.routing import Rule

from api.http.operation import Media, Operation
from api.openapi import headers
from api.openapi.problem_responses import Faults, codes_of
from api.openapi.schemas import Forms, Json, plain

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
    """Tells of one route after the other; what they share is collected in ``forms`` and ``faults``."""

    def __init__(self) -> None:
        self.forms = Forms()
        self.faults = Faults()

    def told(self, rule: Rule, method: str, view: Callable[..., Any], known: Operation) -> Json:
        blueprint = rule.endpoint.partition(".")[0]
        told: Json = {
            "operationId": view.__name__,
            "tags": [TAGS.get(blueprint, blueprint.replace("_", " "))],
            "summary": known.summary,
            "description": _description(view, known),
            "security": [] if known.access == "open" else [{scheme: _roles(known)} for scheme in SCHEMES],
            "parameters": [*self._path(view, rule), *self._query(known), *_headers(known)],
            "responses": self._responses(known)
            | (TOO_LONG if known.query else {})
            | self.faults.responses(codes_of(known, method, bool(rule.arguments))),
        }
        if known.takes:
            told["requestBody"] = {"required": not known.bodiless, "content": self._content(known.takes, known.example)}
        return told

    def _path(self, view: Callable[..., Any], rule: Rule) -> list[Json]:
        hints = get_type_hints(view, include_extras=True)
        names = re.findall(r"<(?:\w+:)?(\w+)>", rule.rule)
        return [_parameter("path", name, self.forms.schema(hints[name])) | {"required": True} for name in names]

    def _query(self, known: Operation) -> list[Json]:
        return [self._field(field) for form in known.query for field in msgspec.structs.fields(form)]

    def _field(self, field: msgspec.structs.FieldInfo) -> Json:
        schema = _present(self.forms.schema(field.type))
        if field.default not in (msgspec.NODEFAULT, None, ""):
            schema = schema | {"default": field.default}
        told = _parameter("query", field.encode_name, schema)
        if schema.get("type") == "object":  # comes as JSON
            del told["schema"]
            told["content"] = {"application/json": {"schema": schema}}
        return told

    def _responses(self, known: Operation) -> Json:
        return {str(status): self._response(known, status, forms) for status, forms in known.answers.items()}

    def _response(self, known: Operation, status: int, forms: Any) -> Json:
        told: Json = {"description": _meaning(status), "headers": _answer_headers(known, status)}
        if forms is not None:
            several = isinstance(forms, tuple) and not isinstance(forms, Media)
            told["content"] = self._content(forms if several else (forms,))
        if known.submits:
            told["links"] = LINKS
        return told

    def _content(self, forms: tuple[Any, ...], example: Any = None) -> Json:
        """By media type."""
        content: Json = {}
        for each in forms:
            media = each if isinstance(each, Media) else Media("application/json", each)
            content[media.type] = {} if media.form is None else {"schema": self.forms.schema(media.form)}
        if example is not None:
            content["application/json"]["example"] = example
        return content


def _description(view: Callable[..., Any], known: Operation) -> str:
    """What is told of the view and of its query, and who may."""
    forms: tuple[type[Struct], ...] = known.query
    texts = [view.__doc__, *(form.__doc__ for form in forms), _access(known)]
    return "\n\n".join(plain(text) for text in texts if text)


def _access(known: Operation) -> str:
    if known.access == "open":
        return "Takes no key."
    if known.access in ("any", "public"):
        return "Any key may."
    return f"Takes a key with the scope `{known.access}`."


def _roles(known: Operation) -> list[str]:
    return [] if known.access in ("any", "public") else [known.access]


def _headers(known: Operation) -> list[Json]:
    names = (*(headers.OF_SUBMISSIONS if known.submits else ()), *known.headers)
    known_headers = headers.REQUEST if known.submits else headers.REQUEST | headers.OF_WAITING
    return [{"name": name, "in": "header", **known_headers[name]} for name in names]


def _answer_headers(known: Operation, status: int) -> Json:
    names = ["Location"] if status == HTTPStatus.ACCEPTED else []
    names += ["Retry-After"] if status in (HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE) else []
    if known.submits or "Prefer" in known.headers:
        names.append("Preference-Applied")
    if known.submits:
        names.append("Idempotency-Replayed")
    if known.access != "open":
        names += headers.OF_LIMITS
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(place: str, name: str, schema: Json) -> Json:
    """What the schema says in words belongs to the parameter."""
    told: Json = {"name": name, "in": place, "schema": {key: value for key, value in schema.items() if key != "description"}}
    return told | ({"description": schema["description"]} if "description" in schema else {})


def _present(schema: Json) -> Json:
    """Of a parameter that is given: never null."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _meaning(status: int) -> str:
    if status == HTTPStatus.ACCEPTED:
        return "The job is not done yet: ask for it at `Location`, after `Retry-After` seconds."
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "It is not ready."
    return "Nothing more to tell." if status == HTTPStatus.NO_CONTENT else "Done."
