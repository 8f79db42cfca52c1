"""What a Parquet file of measurements holds, or why it is not taken: as models.parquet tells it to the API."""

from msgspec import Struct

Cell = bool | float | str | None


class Unpacked(Struct, frozen=True, omit_defaults=True):
    """``columns`` by name, unless one of the others says why there are none."""

    columns: dict[str, list[Cell]] = {}
    bad: str = ""
    too_many: str = ""
