"""The rows of a Parquet file of measurements, or why it is refused: the message from modeler.parquet_reader to the API."""

from msgspec import Struct

Cell = bool | float | str | None
Exact = Cell | int

MAX_CELLS = 2_000_000  # of a file of any format


class Unpacked(Struct, frozen=True, omit_defaults=True):
    """``columns`` by name, with integers as int. Or an error message: ``bad`` of a bad file, ``too_many`` of a large one."""

    columns: dict[str, list[Exact]] = {}
    bad: str = ""
    too_many: str = ""
