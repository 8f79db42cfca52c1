"""Webhooks from the submission to the receiver, and their attempts in the job."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.callers import Caller, code
from tests.poison import row
from tests.processes import until
from tests.receiver import Received, Receiver
from tests.service import Service
from tests.suspended import nobody_trains

POISON = "/predict?model=poison"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module", autouse=True)
def failing(alice: Caller) -> Iterator[tuple[dict[str, Any], Receiver]]:
    """Send first of this file and read last: the second attempt is made after five seconds."""
    with Receiver(500, 204) as receiver:
        yield submit(alice, receiver.url), receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def submit(caller: Caller, url: str, body: dict[str, float] | None = None, **headers: str) -> dict[str, Any]:
    answer = caller.post(POISON, params={"webhook": url}, json=body or row(1), headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert job["webhook"] == {"url": url, "attempts": []}
    return job


def attempts(caller: Caller, job: dict[str, Any], many: int = 1, within: float = 5) -> list[dict[str, Any]]:
    """Return the job's attempts, once there are so many."""

    def current() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = caller.get(job["result_url"]).json()["webhook"]["attempts"]
        return found

    until(lambda: len(current()) >= many, within, f"{many} attempts")
    return current()


def verified(received: Received, caller: Caller) -> dict[str, Any]:
    """Verify with the public package, as a receiver does."""
    secret = caller.get("/webhook-secret").json()["secret"]
    message: dict[str, Any] = Webhook(secret).verify(received.body, received.headers)
    return message


def test_end_of_a_job_is_sent_once_signed_and_listed(alice: Caller, bob: Caller, receiver: Receiver) -> None:
    job = submit(alice, receiver.url, traceparent=TRACE)
    (attempt,) = attempts(alice, job)
    assert (attempt["status"], attempt.get("error", "")) == (204, "")
    (received,) = receiver.received
    message = verified(received, alice)
    final = alice.get(job["result_url"]).json()
    assert (message["type"], message["timestamp"]) == ("job.succeeded", final["finished_at"])
    assert message["data"] == {**final, "webhook": {"url": receiver.url, "attempts": []}}
    assert received.path == "/webhook"
    assert received.headers["webhook-id"] == job["id"]
    assert received.headers["content-type"] == "application/json"
    assert received.headers["traceparent"] == TRACE
    with pytest.raises(WebhookVerificationError):
        verified(received, bob)
    with pytest.raises(WebhookVerificationError):
        verified(Received(received.path, received.headers, received.body.replace(b"succeeded", b"canceled ")), alice)


def test_every_final_state_is_sent(alice: Caller, closed: Service, receiver: Receiver) -> None:
    failed = submit(alice, receiver.url, row(1, "raise"))
    with nobody_trains(closed):
        query = {"webhook": receiver.url, "expires_in": 0.3}
        expired = alice.post("/train", params=query, json={"promote": "never"}).json()
        alice.end_of(expired)
        canceled = alice.post("/train", params={"webhook": receiver.url}, json={"promote": "never"}).json()
        alice.delete(canceled["result_url"])
    stopped = submit(alice, receiver.url, row(1, seconds=0.5))
    until(lambda: alice.get(stopped["result_url"]).json()["status"] == "running", 5, "it runs")
    assert alice.delete(stopped["result_url"]).status_code == 202
    for job in (failed, expired, canceled, stopped):
        assert attempts(alice, job)[0]["status"] == 204
    messages = {received.headers["webhook-id"]: verified(received, alice) for received in receiver.received}
    assert {job_id: each["type"] for job_id, each in messages.items()} == {
        failed["id"]: "job.failed",
        expired["id"]: "job.expired",
        canceled["id"]: "job.canceled",
        stopped["id"]: "job.canceled",
    }
    assert messages[failed["id"]]["data"]["error"]["detail"] == "ValueError: this row is bad"


def test_repeated_submission_sends_no_second_webhook(alice: Caller, receiver: Receiver) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    job = submit(alice, receiver.url, None, **key)
    attempts(alice, job)
    again = alice.post(POISON, params={"webhook": receiver.url}, json=row(1), headers=key).json()
    assert again["id"] == job["id"]
    assert len(again["webhook"]["attempts"]) == len(receiver.received) == 1


def scheduled(service: Service, job: dict[str, Any]) -> bool:
    """Return whether another attempt is planned."""
    ledger = service.ledger
    return ledger.redis.zscore(f"{ledger.prefix}delayed", f"wh-{job['id']}") is not None


def test_410_stops_the_deliveries(alice: Caller, closed: Service) -> None:
    with Receiver(410) as gone:
        job = submit(alice, gone.url)
        assert [each["status"] for each in attempts(alice, job)] == [410]
        assert not scheduled(closed, job)
        assert not closed.ledger.redis.exists(f"{closed.ledger.prefix}job:wh-{job['id']}")


def test_a_redirect_is_a_failure_and_is_not_followed(alice: Caller, closed: Service, receiver: Receiver) -> None:
    with Receiver(302, location=receiver.url) as moved:
        job = submit(alice, moved.url)
        assert [each["status"] for each in attempts(alice, job)] == [302]
    assert receiver.connections == 0
    assert scheduled(closed, job)


def test_refused_connection_counts_as_an_attempt(alice: Caller, closed: Service) -> None:
    with Receiver() as receiver:
        url = receiver.url
    job = submit(alice, url)
    (attempt,) = attempts(alice, job)
    assert (attempt.get("status"), "refused" in attempt["error"]) == (None, True)
    assert scheduled(closed, job)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://93.184.216.34/", "must begin with https://"),
        ("http://127.0.0.2/", "must begin with https://"),
        ("https://10.0.0.1/", "not a public address"),
        ("https://127.0.0.2/", "not a public address"),
        ("https://169.254.169.254/latest/meta-data/", "not a public address"),
        ("https://[::ffff:10.0.0.1]/", "not a public address"),
        ("https://[::1]/", "not a public address"),
        ("https://[64:ff9b::a00:1]/", "not a public address"),
        ("https://2130706433/", "not an IP address"),
        ("https://0x7f.1/", "not an IP address"),
        ("https://localhost/", "not a public name"),
        ("https://metadata.google.internal/", "not a public name"),
        ("https://user:password@example.com/", "user name"),
        ("https://example.com/#x", "fragment"),
        ("https://example.com/" + "x" * 2000, "at most 2000 characters"),
        ("file:///etc/passwd", "must begin with https://"),
    ],
)
def test_private_address_is_refused_at_submission(alice: Caller, url: str, says: str) -> None:
    answer = alice.post(POISON, params={"webhook": url}, json=row(1))
    assert (answer.status_code, code(answer)) == (422, "invalid-input")
    assert answer.json()["errors"][0]["pointer"] == "/webhook"
    assert says in answer.json()["errors"][0]["detail"]


def test_new_secret_signs_beside_the_previous_one(bob: Caller, receiver: Receiver) -> None:
    before = bob.get("/webhook-secret").json()["secret"]
    after = bob.post("/webhook-secret").json()["secret"]
    assert before != after == bob.get("/webhook-secret").json()["secret"]
    attempts(bob, submit(bob, receiver.url))
    (received,) = receiver.received
    assert received.headers["webhook-signature"].count("v1,") == 2
    for secret in (before, after):
        assert Webhook(secret).verify(received.body, received.headers)


def test_a_result_that_is_too_large_is_left_out(alice: Caller, receiver: Receiver) -> None:
    job = alice.post(POISON, params={"webhook": receiver.url}, json=[row(n) for n in range(2000)]).json()
    attempts(alice, job)
    (received,) = receiver.received
    assert len(received.body) < 20_000
    sent = verified(received, alice)["data"]
    assert "result" not in sent
    assert len(alice.get(sent["result_url"]).json()["result"]["predictions"]) == 2000


def test_a_failure_is_tried_again_after_five_seconds_with_the_same_message(
    alice: Caller, failing: tuple[dict[str, Any], Receiver]
) -> None:
    job, receiver = failing
    made = attempts(alice, job, many=2, within=15)
    assert [each["status"] for each in made] == [500, 204]
    first, second = (datetime.fromisoformat(each["at"]) for each in made)
    assert (second - first).total_seconds() >= 5
    assert [received.headers["webhook-id"] for received in receiver.received] == [job["id"]] * 2
    assert receiver.received[0].body == receiver.received[1].body
    assert verified(receiver.received[1], alice)["type"] == "job.succeeded"
    assert int(receiver.received[1].headers["webhook-timestamp"]) <= time.time()
    assert json.loads(receiver.received[1].body)["data"]["id"] == job["id"]
