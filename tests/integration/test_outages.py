"""A client that waits for a job during an outage learns of it at once and does not wait without end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from mldeploy.client import Client, Job, ServiceAway, transport
from tests.commands import mldeploy
from tests.poison import expected, row
from tests.processes import ROOT, Pieces, Running, free_port, until
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

Assemble = Callable[..., Pieces]


@pytest.fixture
def queue(assemble: Assemble) -> Pieces:
    """Start a service without workers."""
    return assemble()


def api_of(pieces: Pieces) -> Running:
    return next(running for running in pieces._running if running.name == "api" and running.popen.poll() is None)


def submitted(pieces: Pieces) -> Job:
    return Client(pieces.url).predict(row(7), model="poison")


def wait(job: Job, seconds: float) -> None:
    job.wait(poll=1.0, retry_for=seconds)


def follow(job: Job, seconds: float) -> None:
    assert list(job.events(seconds))


Wait = Callable[[Job, float], None]
either_way = pytest.mark.parametrize("wait", [wait, follow])


@either_way
def test_a_wait_ends_when_the_service_has_been_away_for_too_long(
    queue: Pieces, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    job = submitted(queue)
    with ThreadPoolExecutor(1) as run_in_thread:
        waiting = run_in_thread.submit(wait, job, 2.0)
        until(waiting.running, 5, "it waits")
        api_of(queue).kill()
        since = time.monotonic()
        with pytest.raises(ServiceAway, match=f"the service at {queue.url} has been away for"):
            waiting.result(20)
    assert 1 < time.monotonic() - since < 10
    assert caplog.text.count("no connection; trying again for 2 s") == 1


@either_way
def test_an_outage_is_waited_out_if_it_is_short_enough(queue: Pieces, wait: Wait, caplog: pytest.LogCaptureFixture) -> None:
    """So is the second one: the limit is for each outage."""
    job = submitted(queue)
    with ThreadPoolExecutor(1) as run_in_thread:
        waiting = run_in_thread.submit(wait, job, 30.0)
        for times in (1, 2):
            api_of(queue).kill()
            until(lambda: caplog.text.count("trying again for 30 s") == times, 20, "it is away")  # noqa: B023
            queue.api()
            until(lambda: caplog.text.count("answers again after") == times, 20, "it answers again")  # noqa: B023
        queue.worker()
        waiting.result(30)
    assert job.result["prediction"] == expected(7)


@either_way
def test_a_queue_that_does_not_answer_is_an_outage_too(queue: Pieces, wait: Wait) -> None:
    """The API answers and Redis does not."""
    job, redis = submitted(queue), queue._running[0]
    redis.signal_all(signal.SIGSTOP)
    try:
        with pytest.raises(ServiceAway, match="does not answer"):
            wait(job, 4.0)
    finally:
        redis.signal_all(signal.SIGCONT)


def test_an_open_stream_ends_when_the_queue_has_been_away_for_too_long(queue: Pieces) -> None:
    job, redis = submitted(queue), queue._running[0]
    events = job.events(4.0)
    assert next(events).name == "queued"
    with ThreadPoolExecutor(1) as run_in_thread:
        redis.signal_all(signal.SIGSTOP)
        try:
            with pytest.raises(ServiceAway, match="the queue does not answer"):
                run_in_thread.submit(next, events).result(20)
        finally:
            redis.signal_all(signal.SIGCONT)
            Client(queue.url).cancel(job.id)  # also ends one that waits on


@either_way
def test_a_frozen_service_is_away(queue: Pieces, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and never answers."""
    monkeypatch.setattr(transport, "STREAM_TIMEOUT", 1.0)
    job = Client(queue.url, timeout=0.5).predict(row(7), model="poison")
    api_of(queue).signal_all(signal.SIGSTOP)
    try:
        with pytest.raises(ServiceAway, match="it does not answer in time"):
            wait(job, 2.0)
    finally:
        api_of(queue).signal_all(signal.SIGCONT)


def test_callers_own_timeout_comes_first(queue: Pieces) -> None:
    job = submitted(queue)
    api_of(queue).kill()
    with pytest.raises(TimeoutError, match="still queued after"):
        job.wait(timeout=0.5, retry_for=60)


# The command line


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "mldeploy", *arguments]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("verb", ["result", "watch", "cancel", "predict"])
def test_a_command_that_waits_says_that_the_service_is_away_and_ends(queue: Pieces, verb: str) -> None:
    queue.worker()
    slow = row(7, seconds=60)
    with Proxy(queue.settings.port) as proxy:
        job = Client(queue.url).predict(slow, model="poison")
        until(lambda: job.reload().status == "running", 20, "it runs")
        arguments = {"cancel": ["cancel", job.id, "--wait"], "predict": ["predict", json.dumps(slow), "--model", "poison"]}
        with command(*arguments.get(verb, [verb, job.id]), "--retry-for", "2", "--url", proxy.url) as process:
            until(lambda: proxy.replies, 20, "it has been answered, and waits")
            api_of(queue).kill()
            assert process.stderr is not None
            assert "no connection; trying again for 2 s" in process.stderr.readline()
            since = time.monotonic()
            _, said = process.communicate(timeout=20)
    assert time.monotonic() - since < 6
    assert process.returncode == 2
    assert "has been away for" in said
    assert "the job goes on: `mldeploy watch " in said
    assert said.count("\n") == 1


def test_a_command_waits_on_when_the_service_is_back(queue: Pieces) -> None:
    job = submitted(queue)
    with command("result", job.id, "--url", queue.url) as process:
        assert process.stderr is not None
        until(lambda: waits_at(queue, process), 20, "it waits")
        api_of(queue).kill()
        assert "trying again for 60 s" in process.stderr.readline()
        queue.api()
        assert "answers again after" in process.stderr.readline()
        queue.worker()
        output, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert json.loads(output)["result"]["prediction"] == expected(7)


def waits_at(pieces: Pieces, process: subprocess.Popen[str]) -> bool:
    """Return whether it has a connection to the API."""
    found = psutil.Process(process.pid).net_connections("tcp")
    return any(each.raddr and each.raddr.port == pieces.settings.port and each.status == "ESTABLISHED" for each in found)


def test_a_command_whose_service_is_busy_or_away_from_the_start_ends_with_2(assemble: Assemble) -> None:
    pieces = assemble(lane_jobs=1)
    submitted(pieces)
    busy = mldeploy("predict", json.dumps(row(8)), "--model", "poison", "--retry-for", "0.5", "--url", pieces.url)
    assert busy.returncode == 2
    assert "--retry-for" in busy.stderr
    away = mldeploy("result", "0" * 40, "--retry-for", "1", "--url", f"http://127.0.0.1:{free_port()}")
    assert away.returncode == 2
    assert away.stderr.count("\n") == 2
    assert "no connection; trying again for 1 s" in away.stderr
    assert "mldeploy up" in away.stderr
