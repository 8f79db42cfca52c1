"""Reading records: in one round trip unless the results are large, and with a limit on the bytes of results."""

from collections.abc import Sequence
from typing import Any

from jobs import codec
from jobs.job import Record

MAX_REPLY_BYTES = 1_000_000  # of results in one reply; the rest follows in another
UNLIMITED = 1 << 50  # bytes


class RecordReader:
    """``room``: bytes for results. A record whose result does not fit is returned without the result."""

    def __init__(self, job_ids: Sequence[str], room: int = UNLIMITED) -> None:
        self._ids = job_ids
        self._room = room
        self._found: dict[str, Record | None] = {}

    def next(self) -> list[Any]:
        """The arguments of the next call of the read script; empty when all records are read."""
        missing = [job_id for job_id in self._ids if job_id not in self._found]
        return [MAX_REPLY_BYTES, self._room if self._room < UNLIMITED else "", *missing] if missing else []

    def take(self, reply: bytes) -> None:
        for job_id, record in codec.records(reply):
            self._found[job_id] = record
            if record and record.result:
                self._room -= len(record.result)

    def records(self) -> list[Record | None]:
        return [self._found[job_id] for job_id in self._ids]
