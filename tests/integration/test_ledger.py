"""The ledger's rules on a real Redis, one test per rule."""

import time

import pytest
from msgspec.structs import replace

from compare_and_set import CompareAndSet
from jobs.codec import Accepted
from jobs.errors import AfterFailed, ChangesRejected, LaneFull, LedgerFull, LedgerUnavailable, PreconditionFailed
from jobs.job import Claim, ClaimLater, ClaimRequest, Kind, Outcome, Precondition, State
from jobs.ledger import Ledger
from settings import Settings
from tests.integration.jobs import (
    LANE,
    accept_nothing,
    add,
    added,
    claim,
    expire_lease,
    ids,
    job,
    reconcile,
    record_of,
    state,
    succeeded,
)
from tests.processes import until

# Adding


def test_add_is_idempotent_by_id(ledger: Ledger) -> None:
    one = job(ledger)
    add(ledger, one)
    (again,), _ = ledger.add([one])
    assert isinstance(again, Accepted)
    assert (again.existed, again.state) == (True, State.QUEUED)
    assert ledger.waiting(LANE) == 1


def test_duplicate_job_in_one_call_is_added_once(ledger: Ledger) -> None:
    one = job(ledger)
    outcomes, _ = ledger.add([one, one])
    assert [isinstance(outcome, Accepted) and outcome.existed for outcome in outcomes] == [False, True]
    assert ledger.waiting(LANE) == 1


def test_a_finished_job_is_not_added_again(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    ledger.finish("w:1", succeeded(claim(ledger)))
    (again,), _ = ledger.add([one])
    assert isinstance(again, Accepted)
    assert again.state is State.SUCCEEDED
    assert ledger.waiting(LANE) == 0


def test_late_script_adds_nothing(ledger: Ledger) -> None:
    one = job(ledger)
    ledger.add([job(ledger)])
    with pytest.raises(LedgerUnavailable, match="too late"):
        ledger.add([one], timeout=-1)
    assert ledger.get(one.id) is None


def test_a_full_lane_refuses_jobs_rows_and_bytes(settings: Settings) -> None:
    for limits in ({"lane_jobs": 2}, {"lane_rows": 25}, {"lane_bytes": 20}):
        ledger = Ledger(settings.replace(key_prefix=settings.key_prefix + next(iter(limits)), **limits))
        outcomes, _ = ledger.add([job(ledger, rows=10) for _ in range(3)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, LaneFull]
        ledger.finish("w:1", succeeded(claim(ledger)))
        assert [type(outcome) for outcome in ledger.add([job(ledger)])[0]] == [Accepted]


def test_nothing_is_accepted_while_memory_or_disk_run_out(ledger: Ledger) -> None:
    accept_nothing(ledger, "the disk is nearly full")
    with pytest.raises(LedgerFull, match="disk"):
        ledger.add([job(ledger)])


def test_precondition_of_a_job_is_checked_when_it_is_accepted(ledger: Ledger) -> None:
    """So the API may cache an alias: a job has the version that serves at that moment, or is refused."""
    ledger.redis.hset(ledger.prefix + "model:iris", "alias:champion", 3)
    jobs = [replace(job(ledger, version=n), expects=Precondition("model:iris", "alias:champion", str(n))) for n in (2, 3, 4)]
    outcomes, _ = ledger.add(jobs)
    assert [type(outcome) for outcome in outcomes] == [PreconditionFailed, Accepted, PreconditionFailed]
    assert ledger.waiting(LANE) == 1


# Waiting for another job


def test_jobs_wait_for_the_one_they_come_after(ledger: Ledger) -> None:
    training = job(ledger, kind=Kind.TRAIN)
    waiting = [job(ledger, after=training.id), job(ledger, rows=1000, after=training.id)]
    add(ledger, training, *waiting)
    assert ledger.claim("w:1", "t0", ClaimRequest("predict")) is None
    ledger.finish("w:2", succeeded(claim(ledger, "w:2", kind="train")))
    assert ids(claim(ledger)) == [waiting[0].id]
    assert ids(claim(ledger, "w:3")) == [waiting[1].id]


def test_waiting_jobs_are_released_when_it_fails_or_is_canceled(ledger: Ledger) -> None:
    for end in ("fails", "is canceled"):
        training = job(ledger, model=end.replace(" ", "-"), kind=Kind.TRAIN)
        waiting = job(ledger, model=end.replace(" ", "-"), after=training.id)
        add(ledger, training, waiting)
        if end == "fails":
            ledger.finish("w:2", [Outcome(claim(ledger, "w:2", kind="train").jobs[0], State.FAILED, b"{}")])
        else:
            ledger.cancel(training.id)
        claimed = claim(ledger, token=end)
        assert claimed.jobs[0].after == training.id
        ledger.finish("w:1", succeeded(claimed))
        (late,), _ = ledger.add([job(ledger, after=training.id)])
        assert isinstance(late, AfterFailed)


# Claiming


def test_the_same_token_gets_the_same_jobs_and_burns_no_attempt(ledger: Ledger) -> None:
    added(ledger, 3)
    first = claim(ledger)
    added(ledger, 1)
    assert claim(ledger) == first
    record = ledger.get(first.jobs[0].id)
    assert record is not None
    assert record.attempts == 1


def test_new_token_releases_work_in_hand(ledger: Ledger) -> None:
    jobs = added(ledger, 2)
    claim(ledger, token="lost")
    assert ids(claim(ledger, token="new")) == [each.id for each in jobs]
    record = ledger.get(jobs[0].id)
    assert record is not None
    assert record.attempts == 1


def test_claim_has_one_version_and_versions_take_turns(ledger: Ledger) -> None:
    for version in (1, 2):
        added(ledger, 2, version=version)
    first, second = claim(ledger, "w:1"), claim(ledger, "w:2")
    assert (first.version, second.version) == (1, 2)
    added(ledger, 1, version=1)
    ledger.release("predict", "w:2")  # this releases its turn too
    assert [claim(ledger, "w:3", token="a").version, claim(ledger, "w:4", token="b").version] == [
        2,
        1,
    ]


def test_claims_are_bounded_in_rows_bytes_and_jobs(settings: Settings) -> None:
    for limits, taken in (({"claim_rows": 25}, 2), ({"claim_bytes": 15}, 2), ({"claim_jobs": 3}, 3)):
        ledger = Ledger(settings.replace(key_prefix=settings.key_prefix + next(iter(limits)), **limits))
        added(ledger, 5, rows=10)
        assert len(claim(ledger).jobs) == taken


def test_late_claim_claims_nothing(ledger: Ledger, settings: Settings) -> None:
    """Its owner no longer waits for it, and nobody would do the work."""
    added(ledger, 1)
    hurried = Ledger(settings.replace(redis_timeout=0.001))
    hurried.redis = ledger.redis
    hurried._clock_offset = None
    hurried.note_time(1)  # as if its clock stood still long ago
    with pytest.raises(LedgerUnavailable, match="too late"):
        hurried.claim("w:1", "t1", ClaimRequest("predict"))
    assert ledger.waiting(LANE) == 1
    assert claim(ledger, "w:2")


def test_job_larger_than_a_claim_is_claimed(settings: Settings) -> None:
    ledger = Ledger(settings.replace(claim_rows=5))
    (large,) = added(ledger, 1, rows=50)
    assert ids(claim(ledger)) == [large.id]


def test_a_version_that_cannot_be_loaded_is_never_claimed(ledger: Ledger) -> None:
    added(ledger, 1, version=1)
    (other,) = added(ledger, 1, version=2)
    assert ids(claim(ledger, unloadable=("iris/1",))) == [other.id]
    assert ledger.claim("w:2", "t2", ClaimRequest("predict", ("iris/1",))) is None
    assert ledger.claim("w:3", "t3", ClaimRequest("predict")) is not None


def test_large_arrays_wait_in_a_lane_of_their_own(ledger: Ledger) -> None:
    large, small = added(ledger, 1, rows=101), added(ledger, 1)
    assert ids(claim(ledger)) == [small[0].id]
    assert ids(claim(ledger, "w:2")) == [large[0].id]


def test_worker_can_claim_large_jobs_first(ledger: Ledger) -> None:
    added(ledger, 1)
    (large,) = added(ledger, 1, rows=101)
    claimed = ledger.claim("w:1", "t1", ClaimRequest("predict", first_lane=1))
    assert ids(claimed) == [large.id]


def test_backlog_does_not_delay_other_versions(settings: Settings) -> None:
    """Beside other versions it rests nineteen times as long as its last claim took; alone it never rests."""
    ledger = Ledger(settings.replace(claim_jobs=2))
    added(ledger, 20, version=1)
    assert len(ids(claim(ledger, "w:1", "a"))) == 2  # a backlog, and alone
    assert len(ids(claim(ledger, "w:2", "b"))) == 2
    (one,) = added(ledger, 1, version=2)
    assert ids(claim(ledger, "w:3", "c")) == [one.id]  # though the backlog's turn came first
    (two,) = added(ledger, 1, version=2)
    time.sleep(0.02)  # so long, at least, the backlog's claim by w:2 takes
    ledger.finish("w:2", succeeded(claim(ledger, "w:2", "b")))
    assert ids(ledger.claim("w:2", "d", ClaimRequest("predict"))) == [two.id]
    rest = ledger.claim("w:4", "e", ClaimRequest("predict"))
    assert isinstance(rest, ClaimLater)
    assert 0.1 < rest.seconds < 5
    assert ledger.redis.zscore(ledger.prefix + "serving:predict", "w:4") is None
    until(lambda: isinstance(ledger.claim("w:4", "f", ClaimRequest("predict")), Claim), 5, "its turn comes")


def test_a_backlog_gets_its_turn_beside_others_that_are_claimed_seldom(settings: Settings) -> None:
    ledger = Ledger(settings.replace(claim_jobs=2))
    added(ledger, 20, version=1)
    versions = []
    for number in range(6):
        added(ledger, 2, version=2)
        time.sleep(0.11)  # longer than other versions count as active
        claimed = claim(ledger, token=str(number))
        versions.append(claimed.version)
        ledger.finish("w:1", succeeded(claimed))
    assert 1 in versions


# Finishing


def test_a_stale_fence_is_refused_and_the_result_never_changes(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    late = claim(ledger, "w:1")
    ledger.release("predict", "w:1")
    now = claim(ledger, "w:2")
    assert ledger.finish("w:1", succeeded(late, b'"late"'))[0] == 0
    assert ledger.finish("w:2", succeeded(now, b'"now"'))[0] == 1
    assert ledger.finish("w:2", succeeded(now, b'"twice"'))[0] == 0
    record = ledger.get(one.id)
    assert record is not None
    assert (record.result, record.state) == (b'"now"', State.SUCCEEDED)


def test_the_same_owner_with_an_older_fence_is_refused(ledger: Ledger) -> None:
    added(ledger, 1)
    old = claim(ledger, "w:1", "t1")
    new = claim(ledger, "w:1", "t2")
    assert ledger.finish("w:1", succeeded(old))[0] == 0
    assert ledger.finish("w:1", succeeded(new))[0] == 1


def test_another_owner_with_the_current_fence_is_refused(ledger: Ledger) -> None:
    added(ledger, 1)
    claimed = claim(ledger, "w:1")
    assert ledger.finish("w:2", succeeded(claimed))[0] == 0
    assert ledger.finish("w:1", succeeded(claimed))[0] == 1


def test_progress_is_stored_only_for_the_owner_with_the_current_fence(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    old = claim(ledger, "w:1", "t1")
    new = claim(ledger, "w:1", "t2")
    progress = b'{"done":1,"total":2,"stage":"fit"}'
    assert not ledger.report("w:1", old.jobs[0], progress)
    assert not ledger.report("w:2", new.jobs[0], progress)
    assert record_of(ledger, one.id).progress is None
    assert ledger.report("w:1", new.jobs[0], progress)
    assert record_of(ledger, one.id).progress == progress


def test_a_late_finish_whose_fence_holds_is_valid(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claimed = claim(ledger)
    expire_lease(ledger, "w:1")
    assert ledger.finish("w:1", succeeded(claimed))[0] == 1
    reconcile(ledger)
    assert state(ledger, one.id) is State.SUCCEEDED


def test_changes_happen_with_the_end_or_not_at_all(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claimed = claim(ledger)
    alias = "model:iris", "alias:champion"
    ledger.redis.hset(ledger.prefix + alias[0], alias[1], 3)
    with pytest.raises(ChangesRejected):
        ledger.finish(
            "w:1", succeeded(claimed), [CompareAndSet("model:iris", "card:4", "", "{}"), CompareAndSet(*alias, "2", "4")]
        )
    assert state(ledger, one.id) is State.RUNNING
    assert ledger.redis.hgetall(ledger.prefix + alias[0]) == {b"alias:champion": b"3"}
    ledger.finish("w:1", succeeded(claimed), [CompareAndSet("model:iris", "card:4", "", "{}"), CompareAndSet(*alias, "3", "4")])
    assert state(ledger, one.id) is State.SUCCEEDED
    assert ledger.redis.hgetall(ledger.prefix + alias[0]) == {b"alias:champion": b"4", b"card:4": b"{}"}


def test_changes_of_a_stale_claim_do_not_happen(ledger: Ledger) -> None:
    added(ledger, 1)
    stale = claim(ledger, "w:1")
    ledger.release("predict", "w:1")
    claim(ledger, "w:2")
    assert ledger.finish("w:1", succeeded(stale), [CompareAndSet("model:iris", "alias:champion", "", "4")])[0] == 0
    assert ledger.redis.hget(ledger.prefix + "model:iris", "alias:champion") is None


def test_a_finished_record_keeps_what_a_person_on_call_wants_and_no_payload(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    ledger.finish("host-1-ab:77", [Outcome(claim(ledger, "host-1-ab:77").jobs[0], State.FAILED, b'{"type":"x","detail":"y"}')])
    record = ledger.get(one.id)
    assert record is not None
    assert (record.kind, record.model, record.version, record.attempts) == (Kind.PREDICT, "iris", 1, 1)
    assert (record.worker, record.error, record.result) == ("host-1-ab:77", b'{"type":"x","detail":"y"}', None)
    assert record.created_at <= (record.started_at or 0) <= (record.finished_at or 0)
    assert ledger.redis.hget(f"{ledger.prefix}job:{one.id}", "payload") is None


def test_finish_and_claim_in_one_script(ledger: Ledger) -> None:
    first = added(ledger, 1)
    claimed = claim(ledger)
    second = added(ledger, 1)
    ended, _, then = ledger.finish_and_claim("w:1", succeeded(claimed), "t2", ClaimRequest("predict"))
    assert (ended, ids(then)) == (1, [second[0].id])
    assert state(ledger, first[0].id) is State.SUCCEEDED
    again = ledger.finish_and_claim("w:1", succeeded(claimed), "t2", ClaimRequest("predict"))  # as if its reply had been lost
    assert (again[0], ids(again[2])) == (0, ids(then))


def test_scripts_that_redis_has_forgotten_are_sent_again(ledger: Ledger) -> None:
    added(ledger, 1)
    claimed = claim(ledger)
    ledger.redis.script_flush()
    assert ledger.finish_and_claim("w:1", succeeded(claimed), "t2", ClaimRequest("predict"))[0] == 1


# Canceling


def test_canceling_frees_everything_in_one_step(ledger: Ledger) -> None:
    one, other = added(ledger, 2)
    assert ledger.cancel(one.id)[0] == "canceled"
    assert (state(ledger, one.id), ledger.waiting(LANE)) == (State.CANCELED, 1)
    assert ids(claim(ledger)) == [other.id]
    assert ledger.cancel(one.id)[0] == "canceled"
    assert ledger.cancel(other.id)[0] == "canceling"
    assert ledger.cancel("0" * 40)[0] == "missing"
