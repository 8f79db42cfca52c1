"""How the columns of a table are to be read, as its owner says, and the report of what was understood."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.feature import FeatureType

ReadType = Literal["number", "integer", "boolean", "category", "date", "text", "ignore"]
Name = Annotated[str, Meta(max_length=200)]
Word = Annotated[str, Meta(max_length=100)]

MAX_EXAMPLES = 3
MAX_DOUBTS = 20  # that are named in a result


class ReadOptions(Struct, frozen=True, omit_defaults=True):
    """``types``: of columns, where the values leave doubts; ``ignore`` takes a column and does not use it, as ``drop`` does;
    ``text`` is of sentences, by whose words a model learns.
    ``date_format``: of all dates that are not ISO 8601, as in Python's strptime; ``dayfirst``: whether 1/2/2026 is in February.
    ``decimal``, ``thousands``: marks in numbers. ``delimiter``, ``encoding``: of a CSV file. ``na_values``: the words that stand
    for a missing value, instead of NA, N/A, NaN, null, None and the like; an empty cell always is one. All of it is remembered
    with the data set."""

    types: Annotated[dict[Name, ReadType], Meta(max_length=1001)] = {}
    drop: Annotated[list[Name], Meta(max_length=1001)] = []
    date_format: Word = ""
    dayfirst: bool | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    encoding: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,40}$(?!\n)", description="such as cp1252")] = ""
    na_values: Annotated[list[Word], Meta(max_length=100)] = []

    @property
    def ignored(self) -> frozenset[str]:
        """The columns that are not used."""
        return frozenset(self.drop) | {name for name, type_ in self.types.items() if type_ == "ignore"}

    def over(self, earlier: "ReadOptions | None") -> "ReadOptions":
        """Return these options with those from ``earlier`` that are not given anew; ``types`` are merged by column."""
        if earlier is None:
            return self
        names = ReadOptions.__struct_fields__
        chosen = {name: getattr(earlier if getattr(self, name) == DEFAULT_OF[name] else self, name) for name in names}
        return ReadOptions(**chosen | {"types": earlier.types | self.types})


DEFAULT_OF = {name: getattr(ReadOptions(), name) for name in ReadOptions.__struct_fields__}
AS_IT_COMES = ReadOptions()


def reading_of(options: ReadOptions) -> ReadOptions:
    """Return the options for reading alone of options that have others too."""
    return ReadOptions(**{name: getattr(options, name) for name in ReadOptions.__struct_fields__})


class ColumnReport(Struct, frozen=True, omit_defaults=True):
    """What was understood of a column: its ``type``, and ``why`` it was taken. ``missing`` counts cells without a value;
    ``as_missing`` those with a word that stands for none, by word. ``minimum`` and ``maximum`` are of numbers and dates.
    ``doubts`` are sentences about what may be meant otherwise, with the option that says so."""

    name: str
    type: FeatureType | Literal["ignore"]
    why: str
    missing: int
    distinct: int
    minimum: float | str | None = None
    maximum: float | str | None = None
    examples: tuple[str, ...] = ()
    as_missing: dict[str, int] = {}
    doubts: tuple[str, ...] = ()


class TableReport(Struct, frozen=True):
    """What was understood of a table. ``notes`` are about the file itself."""

    rows: int
    columns: list[ColumnReport]
    notes: list[str]

    @property
    def doubts(self) -> list[str]:
        """All notes and doubts, of which at most MAX_DOUBTS are named."""
        found = [*self.notes, *(f"{each.name!r}: {doubt}" for each in self.columns for doubt in each.doubts)]
        more = len(found) - MAX_DOUBTS
        return found if more <= 0 else [*found[:MAX_DOUBTS], f"… and {more} more doubts: see the columns' report"]
