"""The ledger's rules, each on a real Redis. A test per rule."""

import time
from typing import cast

import pytest

from jobs.errors import AfterFailed, EffectConflict, LaneFull, LedgerFull, LedgerUnavailable
from jobs.job import Effect, Kind, Outcome, State
from jobs.ledger import Accepted, Ledger
from settings import Settings
from tests.integration.jobs import LANE, add, added, claim, ids, job, reconcile, state, succeeded
from tests.processes import Pieces, until


def expire_lease(ledger: Ledger, owner: str, kind: str = "predict") -> None:
    """As if the owner had been silent for a whole lease."""
    assert ledger.redis.zadd(f"{ledger.prefix}owners:{kind}", {owner: 1}, xx=True, ch=True) == 1


# Adding


def test_add_is_idempotent_by_id(ledger: Ledger) -> None:
    one = job(ledger)
    add(ledger, one)
    (again,), _ = ledger.add([one])
    assert isinstance(again, Accepted)
    assert (again.existed, again.state) == (True, State.QUEUED)
    assert ledger.waiting(LANE) == 1


def test_a_finished_job_is_not_added_again(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    ledger.finish("w:1", succeeded(claim(ledger)))
    (again,), _ = ledger.add([one])
    assert isinstance(again, Accepted)
    assert again.state is State.SUCCEEDED
    assert ledger.waiting(LANE) == 0


def test_a_script_that_runs_late_adds_nothing(ledger: Ledger) -> None:
    one = job(ledger)
    ledger.add([job(ledger)])
    with pytest.raises(LedgerUnavailable, match="too late"):
        ledger.add([one], patience=-1)
    assert ledger.get(one.id) is None


def test_a_full_lane_refuses_jobs_rows_and_bytes(settings: Settings) -> None:
    for limits in ({"lane_jobs": 2}, {"lane_rows": 25}, {"lane_bytes": 20}):
        ledger = Ledger(settings.replace(key_prefix=settings.key_prefix + next(iter(limits)), **limits))
        outcomes, _ = ledger.add([job(ledger, rows=10) for _ in range(3)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, LaneFull]
        ledger.finish("w:1", succeeded(claim(ledger)))
        assert [type(outcome) for outcome in ledger.add([job(ledger)])[0]] == [Accepted]


def test_nothing_is_accepted_while_memory_or_disk_run_out(ledger: Ledger) -> None:
    ledger.mark_full("the disk is nearly full", 60)
    with pytest.raises(LedgerFull, match="disk"):
        ledger.add([job(ledger)])


# Waiting for another job


def test_jobs_wait_for_the_one_they_come_after(ledger: Ledger) -> None:
    training = job(ledger, kind=Kind.TRAIN)
    waiting = [job(ledger, after=training.id), job(ledger, rows=1000, after=training.id)]
    add(ledger, training, *waiting)
    assert ledger.claim(LANE, "w:1", "t0") is None
    ledger.finish("w:2", succeeded(claim(ledger, "w:2", lane="train")))
    assert ids(claim(ledger)) == [waiting[0].id]
    assert ids(claim(ledger, "w:3", lane="predict.large")) == [waiting[1].id]


def test_they_are_let_go_too_when_it_fails_or_is_canceled(ledger: Ledger) -> None:
    for end in ("fails", "is canceled"):
        training = job(ledger, model=end.replace(" ", "-"), kind=Kind.TRAIN)
        waiting = job(ledger, model=end.replace(" ", "-"), after=training.id)
        add(ledger, training, waiting)
        if end == "fails":
            ledger.finish("w:2", [Outcome(claim(ledger, "w:2", lane="train").jobs[0], State.FAILED, b"{}")])
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


def test_a_new_token_gives_back_what_was_in_hand(ledger: Ledger) -> None:
    jobs = added(ledger, 2)
    claim(ledger, token="lost")
    assert ids(claim(ledger, token="new")) == [each.id for each in jobs]
    record = ledger.get(jobs[0].id)
    assert record is not None
    assert record.attempts == 1


def test_a_claim_is_of_one_version_and_the_versions_take_turns(ledger: Ledger) -> None:
    for version in (1, 2):
        added(ledger, 2, version=version)
    first, second = claim(ledger, "w:1"), claim(ledger, "w:2")
    assert (first.version, second.version) == (1, 2)
    added(ledger, 1, version=1)
    ledger.release("predict", "w:2")
    assert [claim(ledger, "w:3", token="a").version, claim(ledger, "w:4", token="b").version] == [1, 2]


def test_claims_are_bounded_in_rows_bytes_and_jobs(settings: Settings) -> None:
    for limits, taken in (({"claim_rows": 25}, 2), ({"claim_bytes": 15}, 2), ({"claim_jobs": 3}, 3)):
        ledger = Ledger(settings.replace(key_prefix=settings.key_prefix + next(iter(limits)), **limits))
        added(ledger, 5, rows=10)
        assert len(claim(ledger).jobs) == taken


def test_a_claim_that_redis_runs_late_takes_nothing(ledger: Ledger, settings: Settings) -> None:
    """Its owner has given up on it: nobody would do the work."""
    added(ledger, 1)
    hurried = Ledger(settings.replace(redis_timeout=0.001))
    hurried.redis = ledger.redis
    hurried._clock_offset = None
    hurried._note_time(1)  # as if its clock stood still long ago
    with pytest.raises(LedgerUnavailable, match="too late"):
        hurried.claim(LANE, "w:1", "t1")
    assert ledger.waiting(LANE) == 1
    assert claim(ledger, "w:2")


def test_a_job_larger_than_a_claim_is_claimed_all_the_same(settings: Settings) -> None:
    ledger = Ledger(settings.replace(claim_rows=5))
    (large,) = added(ledger, 1, rows=50)
    assert ids(claim(ledger)) == [large.id]


def test_a_version_that_cannot_be_loaded_is_never_claimed(ledger: Ledger) -> None:
    added(ledger, 1, version=1)
    (other,) = added(ledger, 1, version=2)
    assert ids(claim(ledger, unloadable=("iris/1",))) == [other.id]
    assert ledger.claim(LANE, "w:2", "t2", unloadable=["iris/1"]) is None
    assert ledger.claim(LANE, "w:3", "t3") is not None


def test_large_arrays_wait_in_a_lane_of_their_own(ledger: Ledger) -> None:
    added(ledger, 1, rows=101)
    assert ledger.claim(LANE, "w:1", "t1") is None
    assert claim(ledger, lane="predict.large").jobs[0].rows == 101


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


def test_a_late_finish_whose_fence_holds_is_valid(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claimed = claim(ledger)
    expire_lease(ledger, "w:1")
    assert ledger.finish("w:1", succeeded(claimed))[0] == 1
    reconcile(ledger)
    assert state(ledger, one.id) is State.SUCCEEDED


def test_effects_happen_with_the_end_or_not_at_all(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claimed = claim(ledger)
    alias = "model:iris", "alias:champion"
    ledger.redis.hset(ledger.prefix + alias[0], alias[1], 3)
    with pytest.raises(EffectConflict):
        ledger.finish("w:1", succeeded(claimed), [Effect("model:iris", "card:4", "", "{}"), Effect(*alias, "2", "4")])
    assert state(ledger, one.id) is State.RUNNING
    assert ledger.redis.hgetall(ledger.prefix + alias[0]) == {b"alias:champion": b"3"}
    ledger.finish("w:1", succeeded(claimed), [Effect("model:iris", "card:4", "", "{}"), Effect(*alias, "3", "4")])
    assert state(ledger, one.id) is State.SUCCEEDED
    assert ledger.redis.hgetall(ledger.prefix + alias[0]) == {b"alias:champion": b"4", b"card:4": b"{}"}


def test_effects_of_a_stale_claim_do_not_happen(ledger: Ledger) -> None:
    added(ledger, 1)
    stale = claim(ledger, "w:1")
    ledger.release("predict", "w:1")
    claim(ledger, "w:2")
    assert ledger.finish("w:1", succeeded(stale), [Effect("model:iris", "alias:champion", "", "4")])[0] == 0
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


# Canceling


def test_canceling_frees_everything_in_one_step(ledger: Ledger) -> None:
    one, other = added(ledger, 2)
    assert ledger.cancel(one.id)[0] == "canceled"
    assert (state(ledger, one.id), ledger.waiting(LANE)) == (State.CANCELED, 1)
    assert ids(claim(ledger)) == [other.id]
    assert ledger.cancel(one.id)[0] == "canceled"
    assert ledger.cancel(other.id)[0] == "running"
    assert ledger.cancel("0" * 40)[0] == "missing"


# Owners that die


def test_work_of_a_dead_owner_is_claimed_alone_behind_the_others(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    (third,) = added(ledger, 1)
    ledger.bury("predict", "w:1")
    assert [ids(claim(ledger, f"w:{n}", token=str(n))) for n in range(2, 5)] == [[third.id], [first.id], [second.id]]


def test_only_a_death_alone_counts_and_the_third_fails_the_job(ledger: Ledger) -> None:
    poison, innocent = added(ledger, 2)
    claim(ledger, "w:0")
    ledger.bury("predict", "w:0")
    for death in range(1, 4):
        claimed = claim(ledger, f"w:{death}", token=f"p{death}")
        if ids(claimed) == [innocent.id]:
            ledger.finish(f"w:{death}", succeeded(claimed))
            claimed = claim(ledger, f"w:{death}", token=f"q{death}")
        assert ids(claimed) == [poison.id]
        assert state(ledger, poison.id) is State.RUNNING
        ledger.bury("predict", f"w:{death}")
    record = ledger.get(poison.id)
    assert record is not None
    assert record.state is State.FAILED
    assert b"worker-died" in (record.error or b"")
    assert state(ledger, innocent.id) is State.SUCCEEDED


def test_a_lease_that_ran_out_counts_apart_and_fails_a_job_only_in_the_end(settings: Settings) -> None:
    ledger = Ledger(settings.replace(max_lapses=5, max_deaths=1))
    (one,) = added(ledger, 1)
    for lapse in range(5):
        assert state(ledger, one.id) is State.QUEUED
        claim(ledger, f"w:{lapse}", token=str(lapse))
        expire_lease(ledger, f"w:{lapse}")
        reconcile(ledger)
    assert state(ledger, one.id) is State.FAILED


def test_work_given_back_counts_no_attempt_and_keeps_its_place(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    (third,) = added(ledger, 1)
    ledger.leave("predict", "w:1")
    claimed = claim(ledger, "w:2")
    assert ids(claimed) == [first.id, second.id, third.id]
    assert {record.attempts for record in ledger.get_many(ids(claimed)) if record} == {1}


def test_an_owner_that_leaves_is_no_longer_counted(ledger: Ledger) -> None:
    ledger.renew("predict", [LANE], ["w:1", "w:2"])
    ledger.leave("predict", "w:1")
    assert ledger.live_owners("predict") == ["w:2"]


def test_running_over_the_hard_limit_fails_a_job_alone_and_isolates_a_group(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    ledger.time_out("predict", "w:1")
    assert ids(claim(ledger, "w:2", token="a")) == [first.id]
    ledger.time_out("predict", "w:2")
    assert state(ledger, first.id) is State.FAILED
    assert ids(claim(ledger, "w:3", token="b")) == [second.id]


def test_the_reconciler_takes_back_from_expired_owners_only(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claim(ledger, "w:1")
    reconcile(ledger)
    assert state(ledger, one.id) is State.RUNNING
    expire_lease(ledger, "w:1")
    dead, _, _ = reconcile(ledger)
    assert (dead, state(ledger, one.id)) == (1, State.QUEUED)


def test_a_live_owner_keeps_its_work_by_renewing(settings: Settings) -> None:
    ledger = Ledger(settings.replace(lease=1.0))
    (one,) = added(ledger, 1)
    claim(ledger, "w:1")
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        ledger.renew("predict", [LANE], ["w:1"])
        reconcile(ledger)
        assert state(ledger, one.id) is State.RUNNING
        time.sleep(0.1)
    until(lambda: reconcile(ledger)[0] == 1, 5, "the silent owner is found dead")


def test_after_an_outage_every_lease_gets_one_full_period(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claim(ledger, "w:1")
    reconcile(ledger)
    expire_lease(ledger, "w:1")
    ledger.redis.decrby(ledger.prefix + "reconciled", 60_000)
    assert reconcile(ledger)[0] == 0
    assert state(ledger, one.id) is State.RUNNING
    assert ledger.live_owners("predict") == ["w:1"]


def test_two_reconcilers_do_no_harm(ledger: Ledger) -> None:
    added(ledger, 5)
    claim(ledger, "w:1")
    expire_lease(ledger, "w:1")
    assert [reconcile(ledger)[0], reconcile(ledger)[0]] == [1, 0]
    assert ledger.waiting(LANE) == 5


# Knocking


def test_a_backlog_is_many_records_and_a_handful_of_knocks(ledger: Ledger) -> None:
    ledger.renew("predict", [LANE], ["w:1", "w:2"])
    rings = [ring for _ in range(50) for ring in ledger.add([job(ledger) for _ in range(10)])[1]]
    assert len(rings) == 2
    assert ledger.waiting(LANE) == 500


def test_no_knock_while_an_owner_serves_and_one_when_it_signs_off_with_work_left(ledger: Ledger) -> None:
    ledger.renew("predict", [LANE], ["w:1"])
    _, rings = ledger.add([job(ledger)])
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert ledger.claim(LANE, "w:1", "t2", bell=rings[0][1]) is None
    _, (ring,) = ledger.add([job(ledger)])
    ledger.claim(LANE, "w:1", "t3", bell=ring[1])
    assert ledger.add([job(ledger)])[1] == []
    assert len(ledger.sign_off(LANE, "w:1")) == 1


def test_a_lost_knock_is_rung_again_by_the_reconciler(settings: Settings) -> None:
    ledger = Ledger(settings.replace(bell=0.2))
    ledger.renew("predict", [LANE], ["w:1"])
    assert len(ledger.add([job(ledger)])[1]) == 1
    assert reconcile(ledger)[2] == []
    until(lambda: reconcile(ledger)[2], 5, "the lane is rung for again")


def test_nobody_is_rung_for_when_there_is_nobody(ledger: Ledger) -> None:
    assert ledger.add([job(ledger)])[1] == []
    ledger.renew("predict", [LANE], ["w:1"])
    assert [lane for lane, _ in reconcile(ledger)[2]] == [LANE]


def test_work_that_nobody_hears_of_is_seen_by_those_who_could(settings: Settings) -> None:
    ledger = Ledger(settings)
    added(ledger, 1)
    ledger.renew("predict", [LANE], ["w:1"])
    time.sleep(0.2)  # it is this time that is measured
    held, starved = ledger.renew("predict", [LANE], ["w:1"])
    assert held == 0
    assert starved >= 0.2
    claim(ledger)
    assert ledger.renew("predict", [LANE], ["w:1"]) == (1, 0.0)


# Memory


def test_finished_jobs_are_forgotten_by_time_and_by_size_and_open_ones_never(settings: Settings) -> None:
    ledger = Ledger(settings.replace(keep=0.001))
    done, still_open = added(ledger, 2)
    claimed = claim(ledger)
    ledger.finish("w:1", succeeded(claimed)[:1])
    time.sleep(0.01)  # longer than they are kept
    assert reconcile(ledger)[1] == 1
    assert (state(ledger, done.id), state(ledger, still_open.id)) == (None, State.RUNNING)

    small = Ledger(settings.replace(key_prefix=settings.key_prefix + "s", keep_bytes=2500))
    jobs = added(small, 5)
    small.finish("w:1", succeeded(claim(small), b"x" * 400))
    assert reconcile(small)[1] == 3
    assert sum(state(small, each.id) is not None for each in jobs) == 2


def test_nothing_is_left_in_redis_but_the_records_once_all_is_done(ledger: Ledger) -> None:
    training = job(ledger, kind=Kind.TRAIN)
    add(ledger, training, job(ledger, after=training.id))
    ledger.finish("w:2", succeeded(claim(ledger, "w:2", lane="train")))
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert ledger.claim(LANE, "w:1", "t9") is None
    assert ledger.claim("train", "w:2", "t9") is None
    keys = cast("list[bytes]", ledger.redis.keys(ledger.prefix + "*"))
    names = sorted(key.decode().removeprefix(ledger.prefix).split(":")[0] for key in keys)
    assert names == ["finished", "finished", "job", "job", "lane", "lane", "owners", "owners", "secret", "sequence"]


def test_finishing_goes_on_at_maxmemory_where_adding_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    pieces = Pieces(Settings(), tmp_path_factory.mktemp("full"))
    pieces.redis()
    try:
        ledger = pieces.ledger
        added(ledger, 3)
        claimed = claim(ledger)
        ledger.redis.config_set("maxmemory", 1)
        with pytest.raises(LedgerFull):
            ledger.add([job(ledger)])
        with pytest.raises(LedgerFull):
            ledger.guard(lambda: ledger.redis.set("anything", "more"))
        assert ledger.renew("predict", [LANE], ["w:1"])[0] == 3
        reconcile(ledger)
        assert ledger.finish("w:1", succeeded(claimed))[0] == 3
    finally:
        pieces.stop()


# Reading the keys of a record from an id


def test_the_secret_is_made_once_and_shared(ledger: Ledger, settings: Settings) -> None:
    assert Ledger(settings).verifies(ledger.new_id())
    assert not Ledger(settings.replace(key_prefix=settings.key_prefix + "other")).verifies(ledger.new_id())
