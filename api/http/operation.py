"""What a route is for: who may call it, what it takes and answers. The server asks, and OpenAPI is made of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from msgspec import Struct

from auth.keys import Scope

V = TypeVar("V", bound=Callable[..., Any])

Access = Scope | Literal["any", "open", "public"]
"""A scope; ``any`` key; ``open``: nobody is asked for a key; ``public``: as any, but it answers without Redis too."""


class Media(NamedTuple):
    """A body that is not plain JSON: its media type, and the form of what is in it, or a JSON Schema, where that can be told."""

    type: str
    form: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """``submits``: it accepts a job, and heeds Idempotency-Key, Prefer and traceparent. ``query`` are the forms of its query
    string, ``headers`` further ones that it heeds. ``takes`` are the forms of its body, each as JSON or a Media; ``bodiless``: it
    takes none as well. ``answers`` by status likewise: one form, several, or None for no body. ``problems`` are the codes that
    are its own, beside those of every route of its kind (see api.openapi.problem_responses)."""

    access: Access
    summary: str
    query: tuple[type[Struct], ...] = ()
    headers: tuple[str, ...] = ()
    takes: tuple[Any, ...] = ()
    bodiless: bool = False
    example: Any = None
    submits: bool = False
    answers: dict[int, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def operation(access: Access, summary: str, **more: Any) -> Callable[[V], V]:
    def described(view: V) -> V:
        view.operation = Operation(access, summary, **more)  # type: ignore[attr-defined]
        return view

    return described


def operation_of(view: Callable[..., Any]) -> Operation:
    found: Operation = view.operation  # type: ignore[attr-defined]
    return found


def is_described(view: Callable[..., Any]) -> bool:
    """Whether it is one of ours, and not of an operator's own application."""
    return hasattr(view, "operation")
