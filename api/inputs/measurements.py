"""Measurements of a request in any format: the JSON array that is checked, and the position of each value in the request."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from models.input_errors import InputError, InvalidInput
from models.schema import Measurements, Schema
from models.validation import escape

Locate = Callable[[str, str], str | None]  # row and name -> a JSON pointer into the body; None if the body has no such value


class MeasurementInput(NamedTuple):
    """``body``: one measurement or an array of them, as JSON. ``at``: its JSON pointer in the request. ``locate`` finds the
    pointers of single values if the request has another structure."""

    body: bytes
    at: str = ""
    locate: Locate | None = None

    def check(self, schema: Schema, max_rows: int, drop_extra: bool) -> Measurements:
        """Checks the measurements. Raises the errors of Schema.check, with pointers into the body of the request."""
        try:
            return schema.check(self.body, max_rows, drop_extra)
        except InvalidInput as error:
            raise InvalidInput([self._in_request(each) for each in error.errors]) from None

    def _in_request(self, error: InputError) -> InputError:
        if self.locate is None:
            return InputError(self.at + error.pointer, error.detail)
        row, _, name = error.pointer[1:].partition("/")
        pointer = self.locate(row, name)
        if pointer:
            return InputError(pointer, error.detail)
        return InputError(self.at, f"{name}: {error.detail}" if name else error.detail)


def in_rows(names: Sequence[str], at: str) -> Locate:
    """Pointers for a list of values per measurement, in the order of the names."""
    indexes = _numbered(names)
    return lambda row, name: f"{at}/{row}/{indexes[name]}" if name in indexes else None


def in_columns(columns: Mapping[str, str]) -> Locate:
    """Pointers for a list of values per name. ``columns``: the pointer of each list."""
    escaped = {escape(name): at for name, at in columns.items()}
    return lambda row, name: f"{escaped[name]}/{row}" if name in escaped else None


def in_flat(names: Sequence[str], at: str) -> Locate:
    """Pointers for one flat list with the values of one measurement after the other."""
    indexes = _numbered(names)
    return lambda row, name: f"{at}/{int(row) * len(names) + indexes[name]}" if name in indexes else None


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {escape(name): index for index, name in enumerate(names)}
