"""Server-Sent Events, as the WHATWG's HTML standard has them read."""

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import HTTPError

CHUNK = 65_536
LONGEST_RETRY = 60.0  # seconds


@dataclass(frozen=True)
class Event:
    """``name``: the job's state, or progress. ``data``: the job as an answer tells it."""

    name: str
    data: dict[str, Any]
    id: str


class EventReader:
    """Reads one stream after another; ``last_id`` is where the next one goes on, after ``retry`` seconds."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry = 1.0

    def read(self, chunks: Iterable[bytes]) -> Iterator[Event]:
        """The events that came whole."""
        name, data, last_id = "", list[str](), self.last_id
        for line in _lines(chunks):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = last_id  # only now: an event that is cut has not been seen
                if data:
                    yield Event(name or "message", json.loads("\n".join(data)), self.last_id)
                name, data = "", []
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id" and "\0" not in value:
                last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry = min(int(value) / 1000, LONGEST_RETRY)


def chunks_of(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives, until it ends, is cut or falls silent."""
    while True:
        try:
            chunk = answer.raw.read1(CHUNK)
        except (HTTPError, OSError):
            return
        if not chunk:
            return
        yield chunk


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines end with CR, LF or both, also where a chunk ends between them."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
