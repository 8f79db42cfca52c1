"""Webhook deliveries: signed, repeated if necessary, and listed with the job."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from standardwebhooks import Webhook

from compare_and_set import CompareAndSet
from jobs.job import Job, Kind, Metadata, Outcome, State, SubmitOptions
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender, make_celery
from settings import Settings
from tests.integration.jobs import add, claim, reconcile
from tests.integration.test_webhook_sending import HERE, receiver_that, say_nothing
from tests.processes import until
from tests.receiver import Receiver
from webhooks.host_backoff import FIRST_PAUSE, MAX_PAUSE, HostBackoff
from webhooks.networks import Networks
from webhooks.retry_schedule import DELAYS
from webhooks.signing_secrets import Secrets
from worker.handlers.webhook import WebhookHandler
from worker.handlers.webhook_message import MAX_BYTES

CALLER = "k1"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def wakeups(settings: Settings) -> WakeupSender:
    return WakeupSender(make_celery(settings))


@pytest.fixture
def secrets(ledger: Ledger) -> Secrets:
    return Secrets(ledger.redis, ledger.prefix, ledger.guard)


@pytest.fixture
def delivering(ledger: Ledger, secrets: Secrets) -> WebhookHandler:
    return WebhookHandler("w:1", ledger, secrets, HERE)


def ended(ledger: Ledger, url: str, body: bytes = b'{"prediction":"setosa"}', state: State = State.SUCCEEDED) -> str:
    """Return the id of an ended job that has a webhook."""
    terms = SubmitOptions(CALLER, host="127.0.0.1", metadata=Metadata("mine", url, TRACE))
    job = Job(ledger.new_id(CALLER), Kind.PREDICT, "iris", 1, 1, b"payload", submit_options=terms)
    add(ledger, job)
    claimed = claim(ledger)
    ledger.finish("w:1", [Outcome(each, state, body) for each in claimed.jobs])
    return job.id


def deliver(ledger: Ledger, delivering: WebhookHandler) -> None:
    delivering.handle(claim(ledger, kind="webhook"), no_more)


def no_more(outcomes: Sequence[Outcome], changes: Sequence[CompareAndSet]) -> None:
    """Check that nothing is left to finish: each delivery is recorded by itself."""
    assert (outcomes, changes) == ((), ())


def attempts(ledger: Ledger, job_id: str) -> list[Any]:
    """Return status and error of each attempt in the job's record."""
    record = ledger.get(job_id)
    assert record is not None
    return [(each.get("status"), each.get("error", "")) for each in json.loads(record.deliveries)]


def due_in(ledger: Ledger, job_id: str) -> float | None:
    """Return the seconds until the next attempt."""
    due = ledger.redis.zscore(f"{ledger.prefix}delayed", f"wh-{job_id}")
    return None if due is None else due / 1000 - ledger.redis.time()[0]


def let_it_be_due(ledger: Ledger, job_id: str) -> None:
    assert ledger.redis.zadd(f"{ledger.prefix}delayed", {f"wh-{job_id}": 1}, xx=True, ch=True) == 1
    reconcile(ledger)


def left(ledger: Ledger) -> list[bytes | str]:
    return ledger.redis.keys(f"{ledger.prefix}job:wh-*")


def test_end_of_a_job_is_sent_signed_and_listed(ledger: Ledger, delivering: WebhookHandler, secrets: Secrets) -> None:
    with Receiver(204) as receiver:
        job_id = ended(ledger, receiver.url)
        deliver(ledger, delivering)
        (came,) = receiver.received
    message = Webhook(secrets.current(CALLER)).verify(came.body, came.headers)
    assert (came.headers["webhook-id"], came.headers["traceparent"]) == (job_id, TRACE)
    assert message["type"] == "job.succeeded"
    assert message["timestamp"] == message["data"]["finished_at"]
    assert message["data"]["id"] == job_id
    assert message["data"]["label"] == "mine"
    assert message["data"]["result"] == {"prediction": "setosa"}
    assert attempts(ledger, job_id) == [(204, "")]
    assert left(ledger) == []


def test_failed_job_is_sent_as_such(ledger: Ledger, delivering: WebhookHandler) -> None:
    with Receiver() as receiver:
        ended(ledger, receiver.url, b'{"type":"prediction-failed","detail":"no"}', State.FAILED)
        deliver(ledger, delivering)
        message = json.loads(receiver.received[0].body)
    assert message["type"] == "job.failed"
    assert message["data"]["error"]["detail"] == "no"


@pytest.mark.parametrize("status", [301, 400, 500])
def test_failed_delivery_is_repeated_identically(ledger: Ledger, delivering: WebhookHandler, status: int) -> None:
    """This holds also when the job's record is gone meanwhile."""
    with Receiver(status, status, 200) as receiver:
        job_id = ended(ledger, receiver.url)
        deliver(ledger, delivering)
        assert attempts(ledger, job_id) == [(status, "")]
        let_it_be_due(ledger, job_id)
        deliver(ledger, delivering)
        assert attempts(ledger, job_id) == [(status, ""), (status, "")]
        ledger.redis.delete(f"{ledger.prefix}job:{job_id}")
        let_it_be_due(ledger, job_id)
        deliver(ledger, delivering)
        assert len(receiver.received) == 3
        assert len({(came.headers["webhook-id"], came.body) for came in receiver.received}) == 1
    assert left(ledger) == []


def test_the_last_attempt_is_the_tenth(ledger: Ledger, delivering: WebhookHandler) -> None:
    with Receiver(503) as receiver:
        job_id = ended(ledger, receiver.url)
        for delay in DELAYS[1:]:
            deliver(ledger, delivering)
            assert due_in(ledger, job_id) == pytest.approx(delay, abs=3)
            let_it_be_due(ledger, job_id)
        deliver(ledger, delivering)
        assert due_in(ledger, job_id) is None
        assert len(receiver.received) == len(attempts(ledger, job_id)) == 10
    assert left(ledger) == []


def test_410_stops_the_deliveries(ledger: Ledger, delivering: WebhookHandler) -> None:
    with Receiver(410) as receiver:
        job_id = ended(ledger, receiver.url)
        deliver(ledger, delivering)
    assert attempts(ledger, job_id) == [(410, "")]
    assert left(ledger) == []


@pytest.mark.parametrize(
    ("url", "networks", "error"),
    [
        ("http://127.0.0.1:1/", HERE, "Connection refused"),
        ("https://127.0.0.1/", Networks(), "127.0.0.1 is not a public address"),
        ("https://nowhere.invalid/", HERE, "nowhere.invalid has no public address"),
    ],
)
def test_missing_response_counts_as_an_attempt(
    ledger: Ledger, secrets: Secrets, url: str, networks: Networks, error: str
) -> None:
    job_id = ended(ledger, url)
    deliver(ledger, WebhookHandler("w:1", ledger, secrets, networks))
    ((status, detail),) = attempts(ledger, job_id)
    assert status is None
    assert detail.startswith(error)
    assert due_in(ledger, job_id) is not None


def test_a_large_result_is_left_out(ledger: Ledger, delivering: WebhookHandler) -> None:
    """It can be read at ``result_url``."""
    with Receiver() as receiver:
        job_id = ended(ledger, receiver.url, b'"%s"' % (b"x" * MAX_BYTES))
        deliver(ledger, delivering)
        body = receiver.received[0].body
    assert len(body) < MAX_BYTES
    assert json.loads(body)["data"]["result_url"] == f"/result/{job_id}"
    assert "result" not in json.loads(body)["data"]


def test_delivery_of_a_forgotten_job_is_dropped(ledger: Ledger, delivering: WebhookHandler) -> None:
    with Receiver() as receiver:
        ledger.redis.delete(f"{ledger.prefix}job:{ended(ledger, receiver.url)}")
        deliver(ledger, delivering)
        assert receiver.received == []
    assert left(ledger) == []


def test_silent_receiver_delays_no_other(ledger: Ledger, secrets: Secrets) -> None:
    delivering = WebhookHandler("w:1", ledger, secrets, HERE, timeout=2.0)
    with Receiver() as receiver, receiver_that(say_nothing) as port:
        slow = ended(ledger, f"http://127.0.0.1:{port}/")
        quick = ended(ledger, receiver.url)
        claimed = claim(ledger, kind="webhook")
        assert len(claimed.jobs) == 2
        working = threading.Thread(target=delivering.handle, args=(claimed, no_more))
        working.start()
        until(lambda: attempts(ledger, quick), 10, "the quick one is delivered")
        assert attempts(ledger, slow) == []
        working.join()
    assert attempts(ledger, slow) == [(None, "no answer within 2 s")]


def test_silent_host_is_paused(ledger: Ledger, secrets: Secrets) -> None:
    with receiver_that(say_nothing) as port:
        delivering = WebhookHandler("w:1", ledger, secrets, HERE, timeout=0.3)
        first = ended(ledger, f"http://127.0.0.1:{port}/")
        deliver(ledger, delivering)
        assert attempts(ledger, first) == [(None, "no answer within 0.3 s")]
        second = ended(ledger, f"http://127.0.0.1:{port}/")
        deliver(ledger, delivering)
    assert attempts(ledger, second) == []
    assert due_in(ledger, second) == pytest.approx(FIRST_PAUSE, abs=3)


def test_pause_of_a_host_grows_and_ends_with_a_response() -> None:
    now = 1000.0
    silence = HostBackoff(lambda: now)
    for lasts in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE, MAX_PAUSE, MAX_PAUSE):
        silence.record_silence("host.example")
        assert silence.remaining("host.example") == lasts
        silence.record_silence("host.example")  # the next delivery of the same claim
        assert silence.remaining("host.example") == lasts
        now += lasts
        assert silence.remaining("host.example") == 0
    assert silence.remaining("another.example") == 0
    silence.record_response("host.example")
    silence.record_silence("host.example")
    assert silence.remaining("host.example") == FIRST_PAUSE


def test_rebuilt_message_is_identical(ledger: Ledger, secrets: Secrets) -> None:
    ledger = Ledger(ledger.settings.replace(lane_bytes=50))  # too few bytes to keep the message
    delivering = WebhookHandler("w:1", ledger, secrets, HERE)
    with Receiver(500, 500, 204) as receiver:
        job_id = ended(ledger, receiver.url)
        for delay in DELAYS[1:3]:
            deliver(ledger, delivering)
            assert due_in(ledger, job_id) == pytest.approx(delay, abs=3)
            let_it_be_due(ledger, job_id)
        deliver(ledger, delivering)
        assert len({(came.headers["webhook-id"], came.body) for came in receiver.received}) == 1
    assert attempts(ledger, job_id) == [(500, ""), (500, ""), (204, "")]
