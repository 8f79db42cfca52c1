"""Describes a route: who may call it, its parameters, body and responses. The server and OpenAPI both use this."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from msgspec import Struct

from auth.keys import Scope

V = TypeVar("V", bound=Callable[..., Any])

Access = Scope | Literal["any", "open", "public"]
"""A scope; ``any``: every key; ``open``: no key is required; ``public``: like ``any``, also without Redis."""


class Media(NamedTuple):
    """A body that is not plain JSON: its media type, and the type or JSON Schema of its content, if there is one."""

    type: str
    content: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """``submits``: the route accepts a job, and reads Idempotency-Key, Prefer and traceparent. ``query``: the Structs of its
    query string. ``headers``: further headers that it reads. ``takes``: the types of its body, each sent as JSON or a Media.
    ``body_optional``: the body is optional. ``responses``: the types by status: one, several, or None for no body.
    ``problems``: codes beyond those of every route of its kind (see api.openapi.problem_responses)."""

    access: Access
    summary: str
    query: tuple[type[Struct], ...] = ()
    headers: tuple[str, ...] = ()
    takes: tuple[Any, ...] = ()
    body_optional: bool = False
    example: Any = None
    submits: bool = False
    responses: dict[int, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def operation(access: Access, summary: str, **more: Any) -> Callable[[V], V]:
    def decorate(view: V) -> V:
        view.operation = Operation(access, summary, **more)  # type: ignore[attr-defined]
        return view

    return decorate


def operation_of(view: Callable[..., Any]) -> Operation:
    result: Operation = view.operation  # type: ignore[attr-defined]
    return result


def is_described(view: Callable[..., Any]) -> bool:
    """Whether the view is one of ours, and not from the operator's application."""
    return hasattr(view, "operation")
