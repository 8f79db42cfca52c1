"""What a Parquet file of measurements holds, or why it is not taken: as modeler.parquet_reader tells it to the API."""

from msgspec import Struct

Cell = bool | float | str | None
Exact = Cell | int

MAX_CELLS = 2_000_000  # of a file of any format


class Unpacked(Struct, frozen=True, omit_defaults=True):
    """``columns`` by name, whole numbers as such, unless one of the others says why there are none."""

    columns: dict[str, list[Exact]] = {}
    bad: str = ""
    too_many: str = ""
