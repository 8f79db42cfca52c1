"""The API's processes share the port, are replaced when they die, and shut down in order."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psutil
import pytest
import requests

from tests.callers import Caller
from tests.poison import expected, row
from tests.processes import Pieces, Running, until
from tests.wire import LIVE, Wire, is_answered, request

pytestmark = pytest.mark.slow

Assemble = Callable[..., Pieces]
POISON = "/predict?model=poison"


def api_of(pieces: Pieces) -> Running:
    return next(running for running in pieces._running if running.name == "api")


def accepting(pieces: Pieces) -> list[psutil.Process]:
    """Return the API processes that hold the port and have no children."""
    return [process for process in pieces.api_processes() if listens(process, pieces.settings.port)]


def listens(process: psutil.Process, port: int) -> bool:
    return any(each.status == "LISTEN" and each.laddr.port == port for each in process.net_connections("tcp"))


def test_killed_process_is_replaced_and_the_other_goes_on(assemble: Assemble) -> None:
    pieces = assemble(api_workers=2)
    until(lambda: len(accepting(pieces)) == 2, 20, "both are there")
    for _ in range(3):
        victim = accepting(pieces)[0]
        victim.kill()
        until(lambda: not victim.is_running() and len(accepting(pieces)) == 2, 20, "it is replaced")  # noqa: B023
        until(lambda: is_answered(pieces.settings.port), 10, "clients are answered")
    answers = [Caller(pieces.url).post(POISON, json=row(number)).status_code for number in range(20)]
    assert answers == [202] * 20


def test_both_processes_have_clients(assemble: Assemble) -> None:
    pieces = assemble(api_workers=2)
    until(lambda: len(accepting(pieces)) == 2, 20, "both are there")
    wires = [Wire(pieces.settings.port).send(LIVE) for _ in range(64)]
    assert {wire.read().status for wire in wires} == {200}
    for process in accepting(pieces):
        held = [c for c in process.net_connections("tcp") if c.status == "ESTABLISHED" and c.laddr.port == pieces.settings.port]
        assert held
    for wire in wires:
        wire.socket.close()


@pytest.mark.parametrize("api_workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_api_answers_what_is_in_hand_and_ends(assemble: Assemble, api_workers: int, number: signal.Signals) -> None:
    pieces = assemble(api_workers=api_workers)
    pieces.worker()
    api, port = api_of(pieces), pieces.settings.port
    with Wire(port) as idle, Wire(port) as silent, ThreadPoolExecutor(1) as run_in_thread:
        assert idle.send(LIVE).read().status == 200
        waiting = run_in_thread.submit(Caller(pieces.url).post, POISON, json=row(7, seconds=1.0), headers={"Prefer": "wait=20"})
        until(lambda: any(job["status"] == "running" for job in Caller(pieces.url).get("/jobs").json()["jobs"]), 10, "it runs")
        since = time.monotonic()
        api.popen.send_signal(number)
        assert idle.ended()
        assert silent.ended()
        assert time.monotonic() - since < 0.9, "the idle ones do not wait for the job"
        answer = waiting.result()
    assert answer.json()["result"]["prediction"] == expected(7)
    assert answer.headers["Connection"] == "close"
    assert api.popen.wait(5) == 0
    assert not api.family
    with pytest.raises(ConnectionError):
        Wire(port)


def test_api_does_not_wait_for_ever(assemble: Assemble) -> None:
    """There are no workers: waiting clients are disconnected and retry."""
    pieces = assemble()
    job = Caller(pieces.url).post(POISON, json=row(1)).json()
    api = api_of(pieces)
    with (
        closing(requests.get(pieces.url + job["result_url"], headers={"Accept": "text/event-stream"}, stream=True, timeout=30)),
        Wire(pieces.settings.port) as wire,
        Wire(pieces.settings.port) as half,
    ):
        wire.send(request("GET", f"{job['result_url']}?wait=50"))
        half.send(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        assert wire.is_open()
        api.popen.send_signal(signal.SIGTERM)
        assert api.popen.wait(8) == 0


def test_parent_that_is_killed_leaves_no_process(assemble: Assemble) -> None:
    pieces = assemble(api_workers=2)
    family = api_of(pieces).family
    assert len(family) >= 3
    api_of(pieces).popen.kill()
    until(lambda: not any(process.is_running() and process.status() != "zombie" for process in family), 10, "all are gone")


def test_port_in_use_is_said_in_one_line(assemble: Assemble) -> None:
    pieces = assemble()
    second = pieces.python("second", "api")
    assert second.popen.wait(20) != 0
    said = second.log.read_text()
    assert str(pieces.settings.port) in said
    assert "Traceback" not in said


def test_two_api_processes_wake_each_others_waiters(assemble: Assemble) -> None:
    pieces = assemble(api_workers=2)
    with ThreadPoolExecutor(16) as clients:
        send: Callable[[int], Any] = lambda number: requests.post(  # noqa: E731
            pieces.url + "/predict?model=poison", json=row(number), headers={"Prefer": "wait=20"}, timeout=30
        )
        answers = [clients.submit(send, number) for number in range(16)]
        until(lambda: pieces.ledger.waiting("predict.small") == 16, 10, "all wait")
        pieces.worker()
        since = time.monotonic()
        assert [answer.result().json()["result"]["prediction"] for answer in answers] == [
            expected(number) for number in range(16)
        ]
        assert time.monotonic() - since < 10
