"""How the client reads events, and when it retries."""

import json

import pytest
import requests

from mldeploy.client.events import Event, EventReader
from mldeploy.client.outage import Outage
from mldeploy.client.problems import Problem, Unavailable
from mldeploy.client.transport import MAX_PAUSE, Calls, _pause, is_transient, not_sent
from tests.processes import free_port

OUTAGE = Outage("http://127.0.0.1:5000", retry_for=60.0)
JOB = {"id": "a", "status": "queued", "label": "größer"}
DATA = json.dumps(JOB, ensure_ascii=False)
STREAM = f"retry: 250\n\nid: 1\nevent: queued\ndata: {DATA}\n\n: still here\n\nid: 2\nevent: running\ndata: {DATA}\n\n"
READ = [Event("queued", JOB, "1"), Event("running", JOB, "2")]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_are_cut_into_chunks(ending: str, size: int) -> None:
    sent = STREAM.replace("\n", ending).encode()
    reader = EventReader()
    assert list(reader.read([sent[at : at + size] for at in range(0, len(sent), size)], OUTAGE)) == READ
    assert (reader.last_id, reader.retry) == ("2", 0.25)


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        ("\ufeffdata:{}\n\n", [Event("message", {}, "")]),  # a byte order mark, and no space
        ('data: {"id":\ndata:  "a"}\n\n', [Event("message", {"id": "a"}, "")]),  # lines are joined
        ("event: queued\n\ndata: {}\n\n", [Event("message", {}, "")]),  # without data there is no event
        ("data: {}\n", []),  # cut before the end
        ("data: {}\r\rdata: {}\n\n", [Event("message", {}, ""), Event("message", {}, "")]),
        ("id: 1\ndata: {}\n\ndata: {}\n\n", [Event("message", {}, "1"), Event("message", {}, "1")]),
        ("id: 1\nid: 2\0\nretry: soon\nunheard: of\nretry\ndata: {}\n\n", [Event("message", {}, "1")]),
    ],
)
def test_events_are_read_as_the_standard_says(sent: str, events: list[Event]) -> None:
    assert list(EventReader().read([sent.encode()], OUTAGE)) == events


def test_next_stream_resumes_after_the_last_whole_event() -> None:
    reader = EventReader()
    assert list(reader.read([STREAM.encode()[:-1]], OUTAGE)) == READ[:1]
    assert reader.last_id == "1"
    assert list(reader.read([b"data: {}\n\n"], OUTAGE)) == [Event("message", {}, "1")]


def test_pause_follows_retry_after_and_grows_up_to_a_limit() -> None:
    error = Unavailable(429, {}, retry_after=7.0)
    assert all(7.0 <= _pause(error, attempt) <= 7.0 + MAX_PAUSE for attempt in range(100))
    cut = [[_pause(requests.ConnectionError(), attempt) for _ in range(200)] for attempt in (0, 3, 100)]
    assert max(cut[0]) < max(cut[1]) < max(cut[2]) <= MAX_PAUSE
    assert all(len(set(pauses)) > 100 for pauses in cut)


def test_retried_errors() -> None:
    with pytest.raises(requests.ConnectionError) as nobody:
        Calls(f"127.0.0.1:{free_port()}", 5.0, "", 0.0).json("GET", "models")
    assert is_transient(nobody.value)
    assert not_sent(nobody.value)
    for cut in (requests.ConnectionError("cut"), requests.ReadTimeout(), Unavailable(503, {})):
        assert is_transient(cut)
        assert not not_sent(cut)
    for final in (requests.exceptions.SSLError(), Problem(422, {}), Problem(409, {})):
        assert not is_transient(final)


def test_missing_key_error_says_where_keys_come_from() -> None:
    unauthorized = Problem(401, {"type": "urn:problem-type:mldeploy:unauthorized", "title": "A key is needed"})
    assert "mldeploy keys create" in str(unauthorized)
    assert "MLDEPLOY_API_KEY" in str(unauthorized)
    assert "--scopes" in str(Problem(403, {"type": "urn:problem-type:mldeploy:forbidden"}))
    assert "keys" not in str(Problem(403, {"type": "urn:problem-type:mldeploy:foreign-host"}))
