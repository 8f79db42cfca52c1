"""Records as they are read: in one round trip unless they are large, and of large ones no more than there is room for."""

from collections.abc import Sequence
from typing import Any

from jobs import codec
from jobs.job import Record

AT_ONCE = 1_000_000  # bytes of results in one reply; the rest in another
WHATEVER = 1 << 50


class Reading:
    """``room``: bytes of results; a result that goes beyond is left out, and its record is there without."""

    def __init__(self, job_ids: Sequence[str], room: int = WHATEVER) -> None:
        self._ids = job_ids
        self._room = room
        self._found: dict[str, Record | None] = {}

    def next(self) -> list[Any]:
        """What to call the script with; nothing when all is read."""
        left = [job_id for job_id in self._ids if job_id not in self._found]
        return [AT_ONCE, self._room if self._room < WHATEVER else "", *left] if left else []

    def take(self, reply: bytes) -> None:
        for job_id, record in codec.records(reply):
            self._found[job_id] = record
            if record and record.result:
                self._room -= len(record.result)

    def records(self) -> list[Record | None]:
        return [self._found[job_id] for job_id in self._ids]
