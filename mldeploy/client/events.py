"""Reads Server-Sent Events as the WHATWG HTML standard specifies."""

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
QUEUE_AWAY = "the queue does not answer"  # a comment in a stream that cannot report events at the moment


@dataclass(frozen=True)
class Event:
    """``name``: the job's state, or progress. ``data``: the job, as in a response."""

    name: str
    data: dict[str, Any]
    id: str


class EventReader:
    """Reads one stream after another. The next one starts after ``last_id``, in ``retry`` seconds."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry = 1.0

    def read(self, chunks: Iterable[bytes], outage: Outage) -> Iterator[Event]:
        """Yields the events that arrived completely. Raises ServiceAway."""
        name, data, last_id = "", list[str](), self.last_id
        for line in _lines(chunks):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = last_id  # only now, so that an incomplete event is sent again
                if data:
                    outage.end()
                    yield Event(name or "message", json.loads("\n".join(data)), self.last_id)
                name, data = "", []
            elif not field and value == QUEUE_AWAY:
                outage.pause_after(Unavailable(503, {"title": QUEUE_AWAY}))
            elif not field:  # a heartbeat
                outage.end()
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id" and "\0" not in value:
                last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry = min(int(value) / 1000, MAX_RETRY)


def chunks_of(response: requests.Response) -> Iterator[bytes]:
    """Yields the body as it arrives, until it ends or the connection is lost. Raises requests.ReadTimeout."""
    while True:
        try:
            chunk = response.raw.read1(CHUNK)
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(f"{response.url} is silent") from error
        except (HTTPError, OSError):
            return
        if not chunk:
            return
        yield chunk


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Splits at CR, LF or CRLF, also if a chunk ends between CR and LF."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
