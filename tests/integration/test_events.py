"""Server-Sent Events of a job, as they go over the wire."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from auth.keys import Keys
from jobs.job import State
from settings import Settings
from tests.callers import Caller, caller_with, code, keys_of
from tests.http_proxy import HttpProxy
from tests.poison import expected, publish, row, without_workers
from tests.processes import Pieces, until
from tests.service import Service

POISON = "/predict?model=poison"
STREAM = {"Accept": "text/event-stream"}
PLACES = 3


@dataclass
class Block:
    """One event or comment, with the names of its lines in order."""

    id: str = ""
    event: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def follow(url: str, **headers: str) -> Generator[Block, None, None]:
    """Yield all blocks of one stream until it ends."""
    with closing(requests.get(url, headers={**STREAM, **headers}, stream=True, timeout=40)) as answer:
        assert answer.status_code == 200, answer.text
        yield from blocks(answer)


def blocks(answer: requests.Response) -> Iterator[Block]:
    block = Block()
    for line in answer.iter_lines(chunk_size=1):
        name, _, value = line.decode().partition(": ")
        if not line:
            yield block
            block = Block()
            continue
        block.lines.append(name)
        if name == "data":
            block.data = json.loads(value)
        elif name in ("id", "event"):
            setattr(block, name, value)


def events(stream: Iterator[Block]) -> Iterator[Block]:
    return (block for block in stream if block.event)


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers and with few places for waiting clients."""
    with without_workers(Settings(api_waiters=PLACES), tmp_path_factory.mktemp("queue")) as pieces:
        yield pieces


@pytest.fixture(scope="module")
def waiting(queue: Pieces) -> Caller:
    return Caller(queue.url)


@pytest.fixture(scope="module", autouse=True)
def quiet(waiting: Caller) -> Iterator[requests.Response]:
    """Open a stream without events before all other tests of this file: heartbeats come every ten seconds."""
    job = waiting.post("/predict?model=poison&label=quiet", json=row(0)).json()
    with closing(waiting.get(job["result_url"], headers=STREAM, stream=True)) as answer:
        yield answer


def submit(caller: Caller, number: int = 1, seconds: float = 0.0, query: str = "") -> tuple[dict[str, Any], str]:
    """Submit a job. Returns it and its URL."""
    job = caller.post(POISON + query, json=row(number, seconds=seconds)).json()
    return job, caller.url + job["result_url"]


def test_from_the_first_event_to_the_final_one_in_order(anybody: Caller) -> None:
    job, url = submit(anybody, 7, 1.0)
    received = list(follow(url))
    assert received[0].lines == ["retry"]
    assert all(each.lines == ["id", "event", "data"] for each in received[1:])
    assert [each.event for each in received[1:]] in (["queued", "running", "succeeded"], ["running", "succeeded"])
    assert all(each.data["status"] == each.event for each in received[1:])
    assert received[-1].data == anybody.get(job["result_url"]).json()
    assert received[-1].data["result"]["prediction"] == expected(7)


def test_headers_prevent_caching_and_buffering(waiting: Caller) -> None:
    job, url = submit(waiting)
    with closing(requests.get(url, headers=STREAM, stream=True, timeout=10)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Accel-Buffering"] == "no"
    assert requests.head(url, headers=STREAM, timeout=10).headers["Content-Type"] == "text/event-stream"
    assert waiting.get(job["result_url"], headers={"Accept": "application/json"}).json()["id"] == job["id"]
    waiting.delete(job["result_url"])


def test_queue_position_is_streamed_through_a_proxy(queue: Pieces, waiting: Caller) -> None:
    jobs = [submit(waiting, n)[0] for n in range(3)]
    first = waiting.get(jobs[0]["result_url"]).json()["position"]
    with HttpProxy(queue.settings.port) as proxy:
        stream = events(follow(proxy.url + jobs[2]["result_url"]))
        assert (event := next(stream)).data["position"] == first + 2, "before anything else has happened"
        waiting.delete(jobs[0]["result_url"])
        assert ((again := next(stream)).event, again.data["position"]) == ("queued", first + 1)
        assert event.id != again.id
        waiting.delete(jobs[2]["result_url"])
        (end,) = stream
        assert (end.event, end.data["status"], end.data["error"]["type"].rpartition(":")[2]) == ("canceled",) * 3
    waiting.delete(jobs[1]["result_url"])


def test_a_deadline_ends_the_stream_too(waiting: Caller) -> None:
    _, url = submit(waiting, query="&expires_in=0.7")
    assert [event.event for event in events(follow(url))] == ["queued", "expired"]


def test_training_streams_its_progress_and_its_cancelation(anybody: Caller) -> None:
    job = anybody.post("/train", json={"estimator": "RandomForestClassifier", "search": 60, "promote": "never"}).json()
    seen: list[Block] = []
    for event in events(follow(anybody.url + job["result_url"])):
        seen.append(event)
        if event.event == "progress" and event.data["progress"]["stage"] == "search":
            assert anybody.delete(job["result_url"]).status_code in (200, 202)
    names = [event.event for event in seen]
    assert names[0] in ("queued", "running")
    assert names[-1] == "canceled"
    assert set(names[:-1]) <= {"queued", "running", "progress"}
    assert names.index("running") < names.index("progress") if "running" in names else True
    assert len({event.id for event in seen}) == len(seen)


def test_seen_events_are_not_sent_again(waiting: Caller) -> None:
    job, url = submit(waiting)
    with closing(follow(url)) as cut:
        seen = next(events(cut))
    with closing(follow(url, **{"Last-Event-ID": seen.id})) as stream:
        assert next(stream).lines == ["retry"]
        waiting.delete(job["result_url"])
        (end,) = events(stream)
    assert end.event == "canceled"
    over = requests.get(url, headers={**STREAM, "Last-Event-ID": end.id}, timeout=10)
    assert (over.status_code, over.content) == (204, b"")
    assert [event.id for event in events(follow(url, **{"Last-Event-ID": seen.id}))] == [end.id]
    assert [event.id for event in events(follow(url, **{"Last-Event-ID": "of another stream"}))] == [end.id]


def test_a_job_that_is_not_there_is_a_problem_and_no_stream(queue: Pieces, waiting: Caller) -> None:
    never, gone = waiting.get("/result/" + "0" * 40, headers=STREAM), queue.ledger.new_id()
    assert (never.status_code, code(never)) == (404, "unknown-job")
    assert code(waiting.get(f"/result/{gone}", headers=STREAM)) == "forgotten-job"


def test_client_that_disconnects_frees_its_place_at_once(waiting: Caller) -> None:
    """The quiet stream takes one place."""
    job, url = submit(waiting)
    streams = [requests.get(url, headers=STREAM, stream=True, timeout=10) for _ in range(PLACES - 1)]
    open_streams = [events(blocks(stream)) for stream in streams]
    assert {next(each).event for each in open_streams} == {"queued"}
    full = requests.get(url, headers=STREAM, timeout=10)
    assert (full.status_code, code(full), "Retry-After" in full.headers) == (503, "too-many-waiting", True)
    assert requests.get(url, timeout=10).status_code == 202
    for stream in streams:
        stream.close()

    def has_room() -> bool:
        with closing(requests.get(url, headers=STREAM, stream=True, timeout=10)) as answer:
            return answer.status_code == 200

    took = until(has_room, 5, "their places are free")
    assert took < 5
    waiting.delete(job["result_url"])


def test_clients_that_disconnect_make_room_for_others(queue: Pieces, waiting: Caller) -> None:
    """The quiet stream takes one place."""
    job, url = submit(waiting)
    with contextlib.ExitStack() as stack:
        for _ in range(PLACES - 1):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", queue.settings.port)))
            client.sendall(f"GET {job['result_url']}?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: stream_status(url) == 503, 10, "all places are taken")
    until(lambda: stream_status(url) == 200, 20, "they are free again")
    waiting.delete(job["result_url"])


def stream_status(url: str) -> int:
    with closing(requests.get(url, headers=STREAM, stream=True, timeout=10)) as answer:
        return answer.status_code


def test_stream_ends_when_its_key_is_revoked(closed: Service, alice: Caller) -> None:
    """``alice`` has registered the model."""
    keys, caller = keys_of(closed.ledger), caller_with(closed.url, closed.ledger, "revoked-stream", ["predict"])
    job = caller.post(POISON, json=row(1, seconds=1.5)).json()
    with closing(caller.get(job["result_url"], headers=STREAM, stream=True)) as answer:
        followed = events(blocks(answer))
        assert next(followed).event in ("queued", "running")
        keys.revoke(caller.id)
        assert {each.event for each in followed} <= {"running"}
    until(lambda: closed.ledger.get(job["id"]).state.final, 20, "it ends all the same")  # type: ignore[union-attr]


def test_long_poll_ends_with_401_when_its_key_is_revoked(closed: Service, alice: Caller) -> None:
    keys, caller = keys_of(closed.ledger), caller_with(closed.url, closed.ledger, "revoked-wait", ["predict"])
    job = caller.post(POISON, json=row(1, seconds=1.5)).json()
    with ThreadPoolExecutor(1) as run_in_thread:
        answer = run_in_thread.submit(caller.get, job["result_url"] + "?wait=20")
        until(lambda: closed.ledger.get(job["id"]).state is State.RUNNING, 20, "it runs")  # type: ignore[union-attr]
        keys.revoke(caller.id)
        assert code(answer.result()) == "unauthorized"


def test_a_stream_outlives_an_outage_of_the_queue(tmp_path: Path) -> None:
    """A browser that had to reconnect would get an error and give up."""
    pieces = Pieces(Settings(redis_timeout=0.3), tmp_path)
    try:
        redis = pieces.redis()
        publish(pieces)
        pieces.reconciler()
        pieces.api()
        job, url = submit(Caller(pieces.url))
        stream = follow(url)
        assert [next(stream).lines[:1] for _ in range(2)] == [["retry"], ["id"]]
        redis.signal_all(signal.SIGSTOP)
        assert next(stream).lines == [""]  # a comment: it is away
        redis.signal_all(signal.SIGCONT)
        until(lambda: Caller(pieces.url).delete(job["result_url"]).status_code == 200, 20, "it is canceled")
        assert [each.event for each in stream if each.event] == ["canceled"]
    finally:
        pieces.stop()


def test_another_callers_rate_is_not_shown(closed: Service) -> None:
    """The headers of one stream are its own."""
    keys: Keys = keys_of(closed.ledger)
    rated = caller_with(closed.url, closed.ledger, "rated-stream", ["predict"], "1000/m")
    free = caller_with(closed.url, closed.ledger, "free-stream", ["predict"])
    for caller, limited in ((rated, True), (free, False)) * 3:
        job = caller.post(
            "/predict", json=dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), 1)
        ).json()
        with closing(caller.get(job["result_url"], headers=STREAM, stream=True)) as answer:
            names = [name for name, _ in answer.raw.headers.items() if name.lower() == "ratelimit"]
            assert len(names) == int(limited)
    for caller in (rated, free):
        keys.revoke(caller.id)


def test_heartbeats_are_sent_while_nothing_happens(quiet: requests.Response) -> None:
    """This is the last test of the file: the stream was opened with the first."""
    since = time.monotonic()
    beats = 0
    for block in blocks(quiet):
        assert block.lines in (["retry"], ["id", "event", "data"], [""])
        beats += block.lines == [""]
        if beats:
            break
    assert time.monotonic() - since < 15
    assert beats
