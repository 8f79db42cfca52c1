"""Measurements as a request gave them, in whatever form: as the array that is checked, and where in the request each value is."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from models.input_errors import InputError, InvalidInput
from models.schema import Measurements, Schema
from models.validation import escape

Place = Callable[[str, str], str | None]  # row and name -> a pointer into the body; None for what is not there


class MeasurementInput(NamedTuple):
    """``body``: one measurement or an array of them, as JSON; in the request it was ``at``, as it is now unless there is a
    ``place``."""

    body: bytes
    at: str = ""
    place: Place | None = None

    def check(self, schema: Schema, most: int, drop_extra: bool) -> Measurements:
        """Raises what Schema.check raises, with pointers into the request's body."""
        try:
            return schema.check(self.body, most, drop_extra)
        except InvalidInput as error:
            raise InvalidInput([self._told(fault) for fault in error.faults]) from None

    def _told(self, fault: InputError) -> InputError:
        if self.place is None:
            return InputError(self.at + fault.pointer, fault.detail)
        row, _, name = fault.pointer[1:].partition("/")
        found = self.place(row, name)
        if found:
            return InputError(found, fault.detail)
        return InputError(self.at, f"{name}: {fault.detail}" if name else fault.detail)


def in_rows(names: Sequence[str], at: str) -> Place:
    """A list of values for each measurement, in the order of the names."""
    places = _numbered(names)
    return lambda row, name: f"{at}/{row}/{places[name]}" if name in places else None


def in_columns(columns: Mapping[str, str]) -> Place:
    """A list of values for each name, where ``columns`` says."""
    escaped = {escape(name): at for name, at in columns.items()}
    return lambda row, name: f"{escaped[name]}/{row}" if name in escaped else None


def in_flat(names: Sequence[str], at: str) -> Place:
    """The values of one measurement after the other in one list."""
    places = _numbered(names)
    return lambda row, name: f"{at}/{int(row) * len(names) + places[name]}" if name in places else None


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {escape(name): place for place, name in enumerate(names)}
