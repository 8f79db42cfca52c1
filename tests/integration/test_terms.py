"""The ledger's rules for the options of a submission: cancelation of running jobs, deadline, Idempotency-Key."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from compare_and_set import CompareAndSet
from jobs import codec
from jobs.codec import Accepted
from jobs.errors import AfterFailed, KeyReused, LaneFull, LedgerUnavailable
from jobs.job import ClaimRequest, Job, Kind, Precondition, State
from jobs.ledger import Ledger
from settings import Settings
from tests.faults.load import Announcements
from tests.integration.jobs import (
    LANE,
    accepted,
    add,
    added,
    claim,
    expire_lease,
    ids,
    on_terms,
    outcome_of,
    reconcile,
    record_of,
    state,
    succeeded,
)
from tests.processes import until

HOUR = 3600.0


def deadline_comes(ledger: Ledger, *jobs: Job) -> None:
    for each in jobs:
        ledger.redis.hset(f"{ledger.prefix}job:{each.id}", "expires_at", 1)
        ledger.redis.zadd(f"{ledger.prefix}deadlines", {each.id: 1}, xx=True)


# Canceling a running job


def test_running_job_is_stopped_and_its_result_discarded(ledger: Ledger) -> None:
    one, neighbour = added(ledger, 2)
    claimed = claim(ledger)
    assert ledger.cancel(one.id)[0] == "canceling"
    assert (record_of(ledger, one.id).state, record_of(ledger, one.id).canceling) == (State.RUNNING, True)
    assert ledger.finish("w:1", succeeded(claimed))[0] == 1
    record = record_of(ledger, one.id)
    assert (record.state, record.result, record.canceling) == (State.CANCELED, None, False)
    assert b"while it ran" in (record.error or b"")
    assert state(ledger, neighbour.id) is State.SUCCEEDED
    assert ledger.cancel(one.id)[0] == "canceled"
    assert ledger.cancel(neighbour.id)[0] == "succeeded"


def lapse(ledger: Ledger, kind: str, owner: str) -> None:
    expire_lease(ledger, owner, kind)
    reconcile(ledger)


ENDS: list[Callable[[Ledger, str, str], object]] = [
    *(Ledger.release, Ledger.owner_left, Ledger.isolate, Ledger.owner_died, Ledger.time_out),
    lapse,
    lambda ledger, kind, owner: ledger.claim(owner, "another token", ClaimRequest(kind)),
]


@pytest.mark.parametrize("end", ENDS)
def test_canceling_job_ends_canceled_whatever_its_owner_does(ledger: Ledger, end: Callable[[Ledger, str, str], object]) -> None:
    (one,) = added(ledger, 1)
    claim(ledger)
    ledger.cancel(one.id)
    end(ledger, "predict", "w:1")
    assert state(ledger, one.id) is State.CANCELED
    assert ledger.waiting(LANE) == 0


def test_canceled_job_changes_nothing(ledger: Ledger) -> None:
    """It does not matter whether their preconditions hold."""
    one = accepted(ledger, kind=Kind.TRAIN)
    claimed = claim(ledger, kind="train")
    ledger.cancel(one.id)
    ledger.finish("w:1", succeeded(claimed), [CompareAndSet("model:iris", "alias:champion", "3", "4")])
    assert state(ledger, one.id) is State.CANCELED
    assert ledger.redis.exists(ledger.prefix + "model:iris") == 0


def test_running_training_is_stopped_with_its_process(ledger: Ledger) -> None:
    """The process claims nothing more until its death is handled."""
    one, other = accepted(ledger, kind=Kind.TRAIN), accepted(ledger, kind=Kind.TRAIN)
    claimed, others = claim(ledger, "w:1", kind="train"), claim(ledger, "w:2", kind="train")
    assert ledger.stop_canceled("train", ["w:1", "w:2"])[0] == []
    ledger.cancel(one.id)
    assert ledger.stop_canceled("train", ["w:2"])[0] == []
    assert ledger.stop_canceled("train", ["w:1", "w:2"])[0] == ["w:1"]
    assert [state(ledger, each.id) for each in (one, other)] == [State.CANCELED, State.RUNNING]
    accepted(ledger, kind=Kind.TRAIN)
    with pytest.raises(LedgerUnavailable):
        ledger.claim("w:1", "t2", ClaimRequest("train"))
    assert ledger.finish("w:1", succeeded(claimed))[0] == 0
    assert ledger.finish("w:2", succeeded(others))[0] == 1
    ledger.owner_died("train", "w:1")
    assert claim(ledger, "w:1", "t3", kind="train")


def test_job_that_ended_in_time_stops_no_process(ledger: Ledger) -> None:
    one = accepted(ledger, kind=Kind.TRAIN)
    claimed = claim(ledger, kind="train")
    ledger.cancel(one.id)
    ledger.finish("w:1", succeeded(claimed))
    assert ledger.stop_canceled("train", ["w:1"])[0] == []


# Deadlines


def test_unstarted_job_expires_without_a_worker(ledger: Ledger) -> None:
    one, other = accepted(ledger, expires_in=0.05), accepted(ledger, expires_in=HOUR)
    until(lambda: reconcile(ledger) and state(ledger, one.id) is State.EXPIRED, 5, "it expires")
    record = record_of(ledger, one.id)
    assert record.expires_at is not None
    assert record.expires_at == record.created_at + 50 <= (record.finished_at or 0)
    assert b"had not started" in (record.error or b"")
    assert (state(ledger, other.id), ledger.waiting(LANE)) == (State.QUEUED, 1)
    assert ledger.cancel(one.id)[0] == "expired"


def test_claim_skips_expired_jobs(ledger: Ledger) -> None:
    late, one = accepted(ledger, expires_in=HOUR), accepted(ledger, expires_in=HOUR)
    deadline_comes(ledger, late)
    assert ids(claim(ledger)) == [one.id]
    assert state(ledger, late.id) is State.EXPIRED


def test_started_job_never_expires(ledger: Ledger) -> None:
    one = accepted(ledger, expires_in=HOUR)
    claim(ledger)
    deadline_comes(ledger, one)
    reconcile(ledger)
    assert state(ledger, one.id) is State.RUNNING
    ledger.owner_died("predict", "w:1")
    reconcile(ledger)
    assert ids(claim(ledger, "w:2")) == [one.id]


def test_released_job_that_never_started_expires(ledger: Ledger) -> None:
    one = accepted(ledger, expires_in=HOUR)
    claim(ledger)
    deadline_comes(ledger, one)
    ledger.owner_left("predict", "w:1")
    reconcile(ledger)
    assert state(ledger, one.id) is State.EXPIRED


def test_job_waiting_for_a_training_expires_too(ledger: Ledger) -> None:
    training = accepted(ledger, kind=Kind.TRAIN)
    one = accepted(ledger, after=training.id, expires_in=HOUR)
    deadline_comes(ledger, one)
    reconcile(ledger)
    assert (state(ledger, one.id), ledger.waiting(LANE)) == (State.EXPIRED, 0)
    ledger.finish("w:1", succeeded(claim(ledger, kind="train")))
    assert ledger.claim("w:2", "t2", ClaimRequest("predict")) is None


def test_nothing_waits_for_an_expired_job(ledger: Ledger) -> None:
    training = accepted(ledger, kind=Kind.TRAIN, expires_in=HOUR)
    waits = accepted(ledger, after=training.id)
    deadline_comes(ledger, training)
    reconcile(ledger)
    assert isinstance(outcome_of(ledger, on_terms(ledger, after=training.id)), AfterFailed)
    assert ids(claim(ledger)) == [waits.id]  # and fails because its precondition does not hold


def test_shortest_deadline_is_kept(ledger: Ledger) -> None:
    assert record_of(ledger, accepted(ledger, expires_in=0.0001).id).expires_at is not None


def test_each_end_is_pushed_once_when_one_claim_ends_two(ledger: Ledger) -> None:
    one = accepted(ledger)
    claim(ledger)
    ledger.cancel(one.id)
    late = accepted(ledger, expires_in=HOUR)
    deadline_comes(ledger, late)
    announced = Announcements(ledger)
    ledger.claim("w:1", "another token", ClaimRequest("predict"))
    assert announced.drain() == {one.id: 1, late.id: 1}
    announced.close()


# Idempotency-Key


def test_same_key_is_the_same_job_in_every_state(ledger: Ledger) -> None:
    def again() -> tuple[str, State]:
        outcome = outcome_of(ledger, on_terms(ledger, key="k", fingerprint="f"))
        assert isinstance(outcome, Accepted)
        assert outcome.existed
        return outcome.repeats, outcome.state

    one = accepted(ledger, key="k", fingerprint="f")
    assert again() == (one.id, State.QUEUED)
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert again() == (one.id, State.SUCCEEDED)
    assert ledger.waiting(LANE) == 0


def test_two_concurrent_submissions_with_one_key_are_one_job(ledger: Ledger) -> None:
    one, twin = (on_terms(ledger, key="k", fingerprint="f") for _ in range(2))
    (first, second), _ = ledger.add([one, twin])
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.repeats, second.repeats) == ("", one.id)
    assert (ledger.waiting(LANE), ledger.get(twin.id)) == (1, None)


def test_key_belongs_to_one_request_of_one_caller(ledger: Ledger) -> None:
    accepted(ledger, caller="anna", key="k", fingerprint="f")
    assert isinstance(outcome_of(ledger, on_terms(ledger, caller="anna", key="k", fingerprint="g")), KeyReused)
    accepted(ledger, caller="bert", key="k", fingerprint="g")
    assert ledger.waiting(LANE) == 2


def test_repeat_is_recognised_while_nothing_is_accepted(settings: Settings) -> None:
    ledger = Ledger(settings.replace(lane_jobs=1))
    one = accepted(ledger, key="k", fingerprint="f")
    assert isinstance(outcome_of(ledger, on_terms(ledger)), LaneFull)
    again = replace(on_terms(ledger, key="k", fingerprint="f"), after="gone", expects=Precondition("model:m", "alias", "1"))
    outcome = outcome_of(ledger, again)
    assert isinstance(outcome, Accepted)
    assert outcome.repeats == one.id


def test_a_key_is_kept_as_long_as_the_record(settings: Settings) -> None:
    ledger = Ledger(settings.replace(keep=0.001))
    one = accepted(ledger, caller="anna", key="k", fingerprint="f")
    assert codec.known_key(ledger.redis.get(ledger.idempotency_key("anna", "k"))) == (one.id, "f")  # type: ignore[arg-type]
    ledger.cancel(one.id)
    until(lambda: reconcile(ledger)[1], 5, "it is forgotten")
    other = accepted(ledger, caller="anna", key="k", fingerprint="g")
    assert codec.known_key(ledger.redis.get(ledger.idempotency_key("anna", "k"))) == (other.id, "g")  # type: ignore[arg-type]


def test_thousands_of_expired_jobs_do_not_delay_the_next_one(ledger: Ledger) -> None:
    """The next job is in the very next claim, and the reconciler ends the others later."""
    for _ in range(10):
        add(ledger, *(on_terms(ledger, expires_in=2.0) for _ in range(500)))
    until(lambda: ledger.redis.zcount(f"{ledger.prefix}deadlines", "-inf", ledger.now_ms()) == 5000, 10, "all are due")
    one = accepted(ledger)
    assert ids(claim(ledger)) == [one.id]
    rounds = until_all_are_done(ledger)
    assert rounds >= 10
    assert ledger.waiting(LANE) == 0


def until_all_are_done(ledger: Ledger) -> int:
    """Run rounds of the reconciler while it reports more."""
    rounds = 1
    while ledger.reconcile(5.0).more:
        rounds += 1
    return rounds
