"""Server-Sent Events, as the WHATWG's HTML standard has them read."""

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from mldeploy.client.outage import Outage
from mldeploy.client.problems import Unavailable

CHUNK = 65_536
MAX_RETRY = 60.0  # seconds
QUEUE_AWAY = "the queue does not answer"  # as a comment: the stream is there, and nothing can be told


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

    def read(self, chunks: Iterable[bytes], outage: Outage) -> Iterator[Event]:
        """The events that came whole. Raises ServiceAway."""
        name, data, last_id = "", list[str](), self.last_id
        for line in _lines(chunks):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = last_id  # only now: an event that is cut has not been seen
                if data:
                    outage.answered()
                    yield Event(name or "message", json.loads("\n".join(data)), self.last_id)
                name, data = "", []
            elif not field and value == QUEUE_AWAY:
                outage.pause_after(Unavailable(503, {"title": QUEUE_AWAY}))
            elif not field:  # a heartbeat
                outage.answered()
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id" and "\0" not in value:
                last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry = min(int(value) / 1000, MAX_RETRY)


def chunks_of(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives, until it ends or is cut. Raises requests.ReadTimeout when it falls silent."""
    while True:
        try:
            chunk = answer.raw.read1(CHUNK)
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(f"{answer.url} is silent") from error
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
