"""A change of what is known of models and data sets: a field of a hash, set if it still is what it was."""

from typing import NamedTuple

NOW = '"@now"'  # in the value of a stamped change, the first of these becomes Redis's time in ms


class Change(NamedTuple):
    """``expected`` is empty for a field that is not there. ``stamped``: see NOW."""

    key: str
    field: str
    expected: str
    value: str
    stamped: bool = False
