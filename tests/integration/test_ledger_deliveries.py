"""The ledger's rules for webhooks: a delivery is a job in a lane of its own."""

from collections.abc import Callable

import pytest

from jobs.codec import Accepted
from jobs.errors import LaneFull
from jobs.job import Claim, ClaimRequest, Job, Kind, Outcome, State, SubmitOptions
from jobs.ledger import Ledger
from settings import Settings
from tests.faults.load import Announcements
from tests.integration.jobs import LANE, accepted, claim, expire_lease, ids, reconcile, record_of, succeeded
from tests.processes import until

HOST = "told.example"


def ended(ledger: Ledger, **terms: object) -> Job:
    """Return a job that has succeeded and has a webhook."""
    one = accepted(ledger, host=HOST, **terms)
    ledger.finish("w:1", succeeded(claim(ledger, token=one.id)))
    return one


def delivery_in_hand(ledger: Ledger, owner: str = "h:1", token: str = "t1") -> Claim:
    return claim(ledger, owner, token, kind="webhook")


def delay_is_over(ledger: Ledger, delivery: str) -> None:
    assert ledger.redis.zadd(ledger.prefix + "delayed", {delivery: 1}, xx=True, ch=True) == 1


def succeed(ledger: Ledger, one: Job) -> None:
    ledger.finish("w:1", succeeded(claim(ledger)))


def cancel(ledger: Ledger, one: Job) -> None:
    ledger.cancel(one.id)


def fail(ledger: Ledger, one: Job) -> None:
    ledger.finish("w:1", [Outcome(claim(ledger).jobs[0], State.FAILED, b"{}")])


def expire(ledger: Ledger, one: Job) -> None:
    until(lambda: reconcile(ledger) and record_of(ledger, one.id).state is State.EXPIRED, 5, "it expires")


def cancel_running(ledger: Ledger, one: Job) -> None:
    claimed = claim(ledger)
    ledger.cancel(one.id)
    ledger.finish("w:1", succeeded(claimed))


@pytest.mark.parametrize("end", [succeed, cancel, fail, expire, cancel_running])
def test_every_end_makes_one_delivery(ledger: Ledger, end: Callable[[Ledger, Job], object]) -> None:
    one = accepted(ledger, host=HOST, expires_in=0.02 if end is expire else 0.0)
    accepted(ledger, kind=Kind.TRAIN)  # this ends no job and makes no delivery
    assert ledger.waiting("webhook") == 0
    end(ledger, one)
    claimed = delivery_in_hand(ledger)
    assert [(each.id, each.payload) for each in claimed.jobs] == [(f"wh-{one.id}", one.id.encode())]
    assert claimed.model == HOST
    ledger.deliver("h:1", claimed.jobs[0], b"{}", None, b"")
    assert ledger.claim("h:1", "t2", ClaimRequest("webhook")) is None
    assert ledger.redis.keys(ledger.prefix + "job:wh-*") == []


def test_job_without_a_webhook_makes_no_delivery(ledger: Ledger) -> None:
    accepted(ledger)
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert ledger.waiting("webhook") == 0


def test_delivery_workers_are_woken(ledger: Ledger) -> None:
    ledger.renew("webhook", ["h:1"])
    accepted(ledger, host=HOST)
    _, wakeups = ledger.finish("w:1", succeeded(claim(ledger)))
    assert [kind for kind, _ in wakeups] == ["webhook"]


def test_delivery_is_in_no_list_and_its_end_is_not_pushed(ledger: Ledger) -> None:
    announced = Announcements(ledger)
    one = ended(ledger)
    ledger.deliver("h:1", delivery_in_hand(ledger).jobs[0], b"{}", None, b"")
    assert [job_id for _, job_id in ledger.list_jobs("", None, 9, 9, ["", "", "", ""])[0]] == [one.id]
    assert announced.drain() == {one.id: 1}
    announced.close()


def test_failed_delivery_is_retried_when_it_is_due(ledger: Ledger) -> None:
    one = ended(ledger)
    claimed = delivery_in_hand(ledger)
    ledger.deliver("h:1", claimed.jobs[0], b'{"status":500}', 3600.0, b"second")
    assert record_of(ledger, one.id).deliveries == b'[{"status":500}]'
    reconcile(ledger)
    assert ledger.claim("h:1", "t2", ClaimRequest("webhook")) is None
    delay_is_over(ledger, claimed.jobs[0].id)
    reconcile(ledger)
    again = delivery_in_hand(ledger, token="t3")
    assert (ids(again), again.jobs[0].payload) == (ids(claimed), b"second")
    assert again.jobs[0].fence > claimed.jobs[0].fence
    ledger.deliver("h:1", again.jobs[0], b'{"status":200}', None, b"")
    assert record_of(ledger, one.id).deliveries == b'[{"status":500},{"status":200}]'
    assert (ledger.waiting("webhook"), ledger.redis.exists(ledger.prefix + "delayed")) == (0, 0)


def test_stale_delivery_is_ignored(ledger: Ledger) -> None:
    one = ended(ledger)
    stale = delivery_in_hand(ledger)
    expire_lease(ledger, "h:1", "webhook")
    reconcile(ledger)
    again = delivery_in_hand(ledger, "h:2")
    ledger.deliver("h:1", stale.jobs[0], b'{"stale":1}', None, b"")
    assert record_of(ledger, one.id).deliveries == b"[]"
    ledger.release("webhook", "h:2")
    ledger.deliver("h:2", again.jobs[0], b'{"stale":2}', 1.0, b"")
    assert record_of(ledger, one.id).deliveries == b"[]"
    assert delivery_in_hand(ledger, "h:2", "t2")


def test_delivery_whose_worker_always_dies_is_abandoned(settings: Settings) -> None:
    ledger = Ledger(settings.replace(max_deaths=2))
    one = ended(ledger)
    for death in range(2):
        assert ids(delivery_in_hand(ledger, f"h:{death}")) == [f"wh-{one.id}"]
        ledger.owner_died("webhook", f"h:{death}")
    assert ledger.claim("h:9", "t9", ClaimRequest("webhook")) is None
    assert ledger.redis.exists(f"{ledger.prefix}job:wh-{one.id}") == 0
    assert record_of(ledger, one.id).state is State.SUCCEEDED


def test_deaths_are_of_one_attempt(settings: Settings) -> None:
    """A delivery that waited for its next attempt starts from zero."""
    ledger = Ledger(settings.replace(max_deaths=2))
    ended(ledger)
    delivery_in_hand(ledger, "h:1")
    ledger.owner_died("webhook", "h:1")
    claimed = delivery_in_hand(ledger, "h:2")
    ledger.deliver("h:2", claimed.jobs[0], b"{}", 3600.0, b"")
    delay_is_over(ledger, claimed.jobs[0].id)
    reconcile(ledger)
    delivery_in_hand(ledger, "h:3")
    ledger.owner_died("webhook", "h:3")
    assert ids(delivery_in_hand(ledger, "h:4")) == ids(claimed)


def test_slow_host_delays_no_other(ledger: Ledger) -> None:
    first = ended(ledger)
    other = accepted(ledger, host="other.example")
    ledger.finish("w:1", succeeded(claim(ledger, token="other")))
    assert ids(delivery_in_hand(ledger, "h:1")) == [f"wh-{first.id}"]
    assert ids(delivery_in_hand(ledger, "h:2")) == [f"wh-{other.id}"]
    assert ledger.waiting(LANE) == 0


def test_delivery_survives_its_forgotten_job(settings: Settings) -> None:
    ledger = Ledger(settings.replace(keep=0.001))
    one = ended(ledger)
    until(lambda: reconcile(ledger)[1], 5, "the record is forgotten")
    claimed = delivery_in_hand(ledger)
    assert ids(claimed) == [f"wh-{one.id}"]
    ledger.deliver("h:1", claimed.jobs[0], b"{}", None, b"")
    assert ledger.redis.keys(ledger.prefix + "job:*") == []


def test_number_of_waiting_deliveries_is_limited(settings: Settings) -> None:
    """Jobs without a webhook are still accepted."""
    ledger = Ledger(settings.replace(lane_jobs=2))
    for _ in range(2):
        ended(ledger)
    refused, taken = (
        Job(ledger.new_id(), Kind.PREDICT, "iris", 1, 1, b"p", submit_options=SubmitOptions(host=host)) for host in (HOST, "")
    )
    assert isinstance(ledger.add([refused])[0][0], LaneFull)
    assert isinstance(ledger.add([taken])[0][0], Accepted)
    claimed = delivery_in_hand(ledger)
    for each in claimed.jobs:
        ledger.deliver("h:1", each, b"1", 60.0, b"body")
    assert isinstance(ledger.add([refused])[0][0], LaneFull)


def test_messages_beyond_the_byte_limit_are_rebuilt_later(settings: Settings) -> None:
    ledger = Ledger(settings.replace(lane_bytes=100))
    one, other = ended(ledger), ended(ledger)
    for each in delivery_in_hand(ledger).jobs:
        ledger.deliver("h:1", each, b"1", 60.0, b"b" * 60)
        delay_is_over(ledger, each.id)
    reconcile(ledger)
    again = {each.id: each.payload for each in delivery_in_hand(ledger, token="t2").jobs}
    assert again == {f"wh-{one.id}": b"b" * 60, f"wh-{other.id}": other.id.encode()}
    assert int(ledger.redis.get(ledger.prefix + "delayed:bytes") or 0) == 0
