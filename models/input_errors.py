"""Errors of input that the API reports to the client."""

from typing import Any

from msgspec import Struct


class InputError(Struct, frozen=True):
    """One thing wrong with the input, at an RFC 6901 pointer."""

    pointer: str
    detail: str


class MalformedInput(ValueError):
    """The body is not JSON; the message says where."""


class InvalidInput(ValueError):
    """The body is JSON, but does not fit the schema. ``errors`` has at least one entry."""

    def __init__(self, errors: list[InputError]) -> None:
        super().__init__(errors[0].detail)
        self.errors = errors


class TooManyRows(ValueError):
    """A request has more measurements than allowed."""


def kind_of(value: Any) -> str:
    """Name the type of a JSON value in words."""
    names = {bool: "true or false", str: "text", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, …, {names[-1]}"
