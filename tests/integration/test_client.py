"""The client against the real service, through a proxy that loses replies."""

import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from mldeploy.client import Client, Job, JobFailed, Problem, Unavailable, client
from settings import Settings
from tests.conftest import FAST
from tests.http_proxy import HttpProxy
from tests.poison import expected, row, without_workers
from tests.processes import Pieces, free_port, until
from tests.proxy import Proxy, first_of
from tests.receiver import Receiver

Assemble = Callable[..., Pieces]
TABLE = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(100))


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start a service without workers."""
    with without_workers(Settings().replace(**FAST), tmp_path_factory.mktemp("queue")) as pieces:
        yield pieces


@pytest.fixture
def run_in_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def submissions(service: Client) -> dict[str, Callable[..., Job]]:
    return {
        "predict": lambda **terms: service.predict(row(7), model="poison", **terms),
        "train": lambda **terms: service.train(TABLE, model="levels", target="level", **terms),
        "retrain": service.train,
        "add_rows": lambda **terms: service.add_rows("levels", TABLE, **terms),
    }


@pytest.mark.parametrize("how", ["predict", "train", "add_rows"])
def test_a_submission_whose_reply_is_lost_is_one_job(shared: Pieces, how: str) -> None:
    with Proxy(shared.settings.port, drop=first_of("POST")) as proxy:
        job = submissions(Client(proxy.url))[how](label=f"lost-{how}")
        keys = [reply.header("Idempotency-Key") for reply in proxy.replies]
    assert len(proxy.dropped) == 1
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(keys[0]) == 36
    assert [found.id for found in Client(shared.url).jobs(label=f"lost-{how}")] == [job.id]


def test_each_submission_gets_a_new_key_unless_one_is_passed(shared: Pieces) -> None:
    with Proxy(shared.settings.port) as proxy:
        service = Client(proxy.url)
        first, second = (service.predict(row(1), model="poison") for _ in range(2))
        mine, again = (service.predict(row(2), model="poison", idempotency_key="mine-1") for _ in range(2))
        keys = [reply.header("Idempotency-Key") for reply in proxy.replies]
    assert first.id != second.id
    assert mine.id == again.id
    assert len(set(keys)) == 3
    assert keys[2:] == ["mine-1", "mine-1"]
    with pytest.raises(Problem) as reused:
        Client(shared.url).predict(row(3), model="poison", idempotency_key="mine-1")
    assert (reused.value.status, reused.value.type.rpartition(":")[2]) == (422, "idempotency-key-reused")


def test_options_of_a_submission_arrive(queue: Pieces) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Proxy(queue.settings.port) as proxy:
        for submit in submissions(Client(proxy.url)).values():
            job = submit(label="mine", expires_in=60, traceparent=trace).reload()
            assert job.label == "mine"
            assert job.answer["expires_at"] > job.answer["created_at"]
            with pytest.raises(Problem) as refused:
                submit(webhook="https://127.0.0.1/hook")
            assert [error["pointer"] for error in refused.value.errors] == ["/webhook"]
        posts = [reply for reply in proxy.replies if reply.line.startswith("POST")]
    assert [reply.header("traceparent") for reply in posts] == [trace, ""] * 4


def test_with_retries_off_the_first_error_is_the_last(shared: Pieces) -> None:
    with Proxy(shared.settings.port, drop=lambda _: True) as proxy:
        with pytest.raises(requests.ConnectionError):
            Client(proxy.url, retry_for=0).predict(row(1), model="poison")
        assert len(proxy.dropped) == 1
        with pytest.raises(requests.ConnectionError):
            Client(proxy.url, retry_for=1).predict(row(1), model="poison")
        assert len(proxy.dropped) > 2


def test_reading_and_canceling_are_retried_too(queue: Pieces) -> None:
    job = Client(queue.url).predict(row(1), model="poison")
    with Proxy(queue.settings.port, drop=first_of("GET")) as proxy:
        assert Client(proxy.url).result(job.id).status == "queued"
        assert len(proxy.replies) == 2
    with Proxy(queue.settings.port, drop=first_of("DELETE")) as proxy:
        assert Client(proxy.url).cancel(job.id).status == "canceled"
        assert len(proxy.replies) == 2
    with pytest.raises(JobFailed, match="canceled"):
        job.wait(10)


@pytest.mark.parametrize("move", ["promote", "rollback", "rotate_webhook_secret"])
def test_alias_move_with_a_lost_reply_is_not_made_twice(shared: Pieces, move: str) -> None:
    with Proxy(shared.settings.port, drop=lambda _: True) as proxy:
        service = Client(proxy.url)
        moves: dict[str, Callable[[], Any]] = {
            "promote": lambda: service.promote("poison", 1),
            "rollback": lambda: service.rollback("poison"),
            "rotate_webhook_secret": service.rotate_webhook_secret,
        }
        with pytest.raises(requests.ConnectionError):
            moves[move]()
        assert len(proxy.replies) == 1


@pytest.mark.parametrize("call", ["predict", "promote"])
def test_a_refused_connection_is_tried_again(
    shared: Pieces, run_in_thread: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    port = free_port()
    service = Client(f"127.0.0.1:{port}")
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    done = run_in_thread.submit(
        (lambda: service.predict(row(4), model="poison").wait(30))
        if call == "predict"
        else (lambda: service.promote("poison", 1, alias="tried"))
    )
    until(lambda: caplog.text.count(f"127.0.0.1:{port}") >= 2, 20, "two connections were refused")
    with Proxy(shared.settings.port, port=port):
        answer = done.result(30)
    assert answer.get("prediction", expected(4)) == expected(4)


def test_full_lane_is_retried_after_its_retry_after(assemble: Assemble, run_in_thread: ThreadPoolExecutor) -> None:
    pieces = assemble(lane_jobs=1)
    first = Client(pieces.url).predict(row(1), model="poison")
    with Proxy(pieces.settings.port) as proxy:
        with pytest.raises(Unavailable) as full:
            Client(proxy.url, retry_for=0.5).predict(row(2), model="poison")
        assert full.value.status == 429
        assert full.value.retry_after >= 1
        assert len(proxy.replies) == 1  # earlier than Retry-After
        second = run_in_thread.submit(Client(proxy.url).predict, row(2), model="poison")
        until(lambda: len(proxy.replies) >= 2, 20, "it was turned away")
        first.cancel()
        assert second.result(30).status == "queued"


def test_an_outage_of_the_queue_is_waited_out(queue: Pieces, run_in_thread: ThreadPoolExecutor) -> None:
    redis = queue._running[0]
    service = Client(queue.url)
    service.predict(row(1), model="poison").cancel()  # what the API remembers of models is read
    redis.signal_all(signal.SIGSTOP)
    try:
        with Proxy(queue.settings.port) as proxy:
            jobs = [run_in_thread.submit(Client(proxy.url).predict, row(n), model="poison", label="outage") for n in range(5)]
            until(lambda: len(proxy.replies) >= 6, 25, "some were turned away, and came back")
            redis.signal_all(signal.SIGCONT)
            ids = {job.result(40).id for job in jobs}
    finally:
        redis.signal_all(signal.SIGCONT)
    assert len(ids) == 5
    assert {job.id for job in service.jobs(label="outage")} == ids


def test_canceled_and_expired_jobs_say_so(queue: Pieces) -> None:
    service = Client(queue.url)
    with pytest.raises(JobFailed, match="canceled"):
        service.predict(row(1), model="poison").cancel().wait(5)
    expiring = service.predict(row(1), model="poison", expires_in=0.5)
    with pytest.raises(JobFailed, match="expired"):
        expiring.wait(20)
    with pytest.raises(Problem) as final:
        expiring.cancel()
    assert (final.value.status, final.value.type.rpartition(":")[2]) == (409, "job-final")


def test_a_running_job_is_stopped(shared: Pieces) -> None:
    job = Client(shared.url).predict([row(n, seconds=0.1) for n in range(30)], model="poison")
    until(lambda: job.reload().status == "running", 20, "it runs")
    assert job.cancel().canceling or job.status == "canceled"
    with pytest.raises(JobFailed, match="canceled"):
        job.wait(30)
    assert job.cancel().status == "canceled"  # again, and it is the same


def test_jobs_are_listed_newest_first_over_all_pages(assemble: Assemble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    service = Client(assemble().url)
    ids = [service.predict(row(n), model="poison", label=f"batch-{n % 2}").id for n in range(7)]
    training = service.train(TABLE, model="levels", target="level")
    service.cancel(ids[0])
    assert [job.id for job in service.jobs()] == [training.id, *reversed(ids)]
    assert [job.id for job in service.jobs(limit=3)] == [training.id, *reversed(ids)][:3]
    assert [job.id for job in service.jobs(kind="train")] == [training.id]
    assert [job.id for job in service.jobs(model="poison", status="canceled")] == [ids[0]]
    assert [job.id for job in service.jobs(label="batch-1")] == [ids[5], ids[3], ids[1]]
    assert list(service.jobs(label="unheard-of")) == []


def test_many_results_come_in_few_reads(shared: Pieces) -> None:
    with Proxy(shared.settings.port) as proxy:
        service = Client(proxy.url)
        jobs = [service.predict(row(n), model="poison") for n in range(120)]
        until(lambda: all(job and job.done for job in service.results([job.id for job in jobs])), 30, "all have ended")
        before = len(proxy.replies)
        found = service.results([jobs[5].id, "0" * 40, *(job.id for job in jobs)])
        assert len(proxy.replies) - before == 2
    assert found[1] is None
    assert [job.result["prediction"] for job in found if job] == [expected(n) for n in (5, *range(120))]
    assert service.results([]) == []


def test_the_webhook_secret_is_read_and_changed(shared: Pieces) -> None:
    service = Client(shared.url)
    secret = service.webhook_secret()
    assert secret.startswith("whsec_")
    assert service.webhook_secret() == secret
    assert service.rotate_webhook_secret() == service.webhook_secret() != secret


def test_the_key_is_sent_also_where_a_netrc_has_another(shared: Pieces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Proxy(shared.settings.port) as proxy:
        Client(proxy.url, api_key="mld_a\n").predict(row(1), model="poison").wait(20)
        assert {reply.header("Authorization") for reply in proxy.replies} == {"Bearer mld_a"}


def test_service_without_long_polls_is_polled_slowly(assemble: Assemble) -> None:
    pieces = assemble(api_waiters=0)
    with Proxy(pieces.settings.port) as proxy:
        job = Client(proxy.url).predict(row(1), model="poison")
        with pytest.raises(TimeoutError):
            job.wait(timeout=3)
        assert len(proxy.replies) <= 6


def test_foreign_response_is_reported_as_such(queue: Pieces) -> None:
    with Receiver(200, text=b"<html>") as foreign:
        with pytest.raises(Problem, match=r"HTTP 200 from .* and not from mldeploy: <html>"):
            Client(f"http://127.0.0.1:{foreign.port}").models()
        with pytest.raises(Problem, match="not from mldeploy"):
            Client(f"http://127.0.0.1:{foreign.port}").predict(row(1))
    with pytest.raises(Problem, match="There is nothing here"):
        Client(queue.url).result("../jobs")


def test_proxies_are_bypassed_for_this_machine(queue: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert Client(queue.url).jobs(limit=1) is not None
    assert Client(queue.url.replace("127.0.0.1", "localhost")).models()
    with pytest.raises(requests.exceptions.ProxyError):
        Client("http://service.example", retry_for=0).models()


def test_a_service_may_have_a_path_before_its_routes(queue: Pieces) -> None:
    with HttpProxy(queue.settings.port, "/ml") as proxy:
        job = Client(f"{proxy.url}/ml/").predict(row(1), model="poison")
        assert job.reload().id == job.id
        assert job.cancel().status == "canceled"
        assert [event.name for event in job.events()] == ["canceled"]
