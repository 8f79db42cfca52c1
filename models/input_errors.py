"""What can be wrong with input, as it is told at the door."""

from typing import Any

from msgspec import Struct


class InputError(Struct, frozen=True):
    """One thing wrong with the input, at an RFC 6901 pointer."""

    pointer: str
    detail: str


class MalformedInput(ValueError):
    """The body is not JSON; the message says where."""


class InvalidInput(ValueError):
    """The body is JSON, but not what the model takes."""

    def __init__(self, faults: list[InputError]) -> None:
        super().__init__(faults[0].detail)
        self.faults = faults


class TooManyRows(ValueError):
    """More measurements in one request than may be."""


def kind_of(value: Any) -> str:
    """A JSON value in words."""
    names = {bool: "true or false", str: "text", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, …, {names[-1]}"
