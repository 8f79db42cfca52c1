"""The ledger's rules for failures: owners that die, wakeups that are lost, memory that runs out."""

import time
from typing import cast

import pytest

from jobs.errors import LedgerFull
from jobs.job import ClaimRequest, Kind, State
from jobs.ledger import Ledger
from settings import Settings
from tests.integration.jobs import LANE, add, added, claim, expire_lease, ids, job, reconcile, state, succeeded
from tests.processes import Pieces, until

# Owners that die


def test_work_of_a_dead_owner_is_claimed_alone_behind_the_others(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    (third,) = added(ledger, 1)
    ledger.owner_died("predict", "w:1")
    assert [ids(claim(ledger, f"w:{n}", token=str(n))) for n in range(2, 5)] == [[third.id], [first.id], [second.id]]


def test_only_deaths_of_a_job_alone_count_and_the_third_fails_it(ledger: Ledger) -> None:
    poison, innocent = added(ledger, 2)
    claim(ledger, "w:0")
    ledger.owner_died("predict", "w:0")
    for death in range(1, 4):
        claimed = claim(ledger, f"w:{death}", token=f"p{death}")
        if ids(claimed) == [innocent.id]:
            ledger.finish(f"w:{death}", succeeded(claimed))
            claimed = claim(ledger, f"w:{death}", token=f"q{death}")
        assert ids(claimed) == [poison.id]
        assert state(ledger, poison.id) is State.RUNNING
        ledger.owner_died("predict", f"w:{death}")
    record = ledger.get(poison.id)
    assert record is not None
    assert record.state is State.FAILED
    assert b"worker-died" in (record.error or b"")
    assert state(ledger, innocent.id) is State.SUCCEEDED


def test_failed_job_keeps_no_count_of_its_deaths(settings: Settings) -> None:
    ledger = Ledger(settings.replace(max_deaths=1))
    (one,) = added(ledger, 1)
    claim(ledger)
    ledger.owner_died("predict", "w:1")
    fields = cast("dict[bytes, bytes]", ledger.redis.hgetall(f"{ledger.prefix}job:{one.id}"))
    assert fields[b"state"] == b"failed"
    assert not {b"deaths", b"lapses", b"alone"} & set(fields)


def test_expired_leases_are_counted_separately_with_a_higher_limit(settings: Settings) -> None:
    ledger = Ledger(settings.replace(max_lapses=5, max_deaths=1))
    (one,) = added(ledger, 1)
    for lapse in range(5):
        assert state(ledger, one.id) is State.QUEUED
        claim(ledger, f"w:{lapse}", token=str(lapse))
        expire_lease(ledger, f"w:{lapse}")
        reconcile(ledger)
    assert state(ledger, one.id) is State.FAILED


def test_released_work_counts_no_attempt_and_keeps_its_place(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    (third,) = added(ledger, 1)
    ledger.owner_left("predict", "w:1")
    claimed = claim(ledger, "w:2")
    assert ids(claimed) == [first.id, second.id, third.id]
    assert {record.attempts for record in ledger.get_many(ids(claimed)) if record} == {1}


def test_released_training_keeps_its_place_before_later_ones(ledger: Ledger) -> None:
    jobs = [job(ledger, version=version, kind=Kind.TRAIN) for version in (1, 2, 3)]
    add(ledger, *jobs)
    for stop in range(2):
        assert ids(claim(ledger, f"w:{stop}", token=str(stop), kind="train")) == [jobs[0].id]
        ledger.owner_left("train", f"w:{stop}")
    assert ids(claim(ledger, "w:9", kind="train")) == [jobs[0].id]


def test_an_owner_that_leaves_is_no_longer_counted(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1", "w:2"])
    ledger.owner_left("predict", "w:1")
    assert ledger.live_owners("predict") == ["w:2"]


def test_running_over_the_hard_limit_fails_a_job_alone_and_isolates_a_group(ledger: Ledger) -> None:
    first, second = added(ledger, 2)
    claim(ledger, "w:1")
    ledger.time_out("predict", "w:1")
    assert ids(claim(ledger, "w:2", token="a")) == [first.id]
    ledger.time_out("predict", "w:2")
    assert state(ledger, first.id) is State.FAILED
    assert ids(claim(ledger, "w:3", token="b")) == [second.id]


def test_reconciler_releases_only_work_of_expired_owners(ledger: Ledger) -> None:
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
        ledger.renew("predict", ["w:1"])
        reconcile(ledger)
        assert state(ledger, one.id) is State.RUNNING
        time.sleep(0.1)
    until(lambda: reconcile(ledger)[0] == 1, 5, "the silent owner is found dead")


def test_after_an_outage_every_lease_gets_one_full_period(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claim(ledger, "w:1")
    reconcile(ledger)
    expire_lease(ledger, "w:1")
    ledger.redis.hincrby(ledger.prefix + "clock", "reconciled", -60_000)
    assert reconcile(ledger)[0] == 0
    assert state(ledger, one.id) is State.RUNNING
    assert ledger.live_owners("predict") == ["w:1"]


def test_two_reconcilers_do_no_harm(ledger: Ledger) -> None:
    added(ledger, 5)
    claim(ledger, "w:1")
    expire_lease(ledger, "w:1")
    assert [reconcile(ledger)[0], reconcile(ledger)[0]] == [1, 0]
    assert ledger.waiting(LANE) == 5


# Wakeups


def test_backlog_sends_few_wakeups(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1", "w:2"])
    wakeups = [wakeup for _ in range(50) for wakeup in ledger.add([job(ledger) for _ in range(10)])[1]]
    assert len(wakeups) == 2
    assert ledger.waiting(LANE) == 500


def test_no_wakeup_while_an_owner_serves_and_one_when_it_leaves_work(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1"])
    _, wakeups = ledger.add([job(ledger)])
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert ledger.claim("w:1", "t2", ClaimRequest("predict"), wakeup=wakeups[0][1]) is None
    _, (wakeup,) = ledger.add([job(ledger)])
    ledger.claim("w:1", "t3", ClaimRequest("predict"), wakeup=wakeup[1])
    assert ledger.add([job(ledger)])[1] == []
    assert len(ledger.sign_off("predict", "w:1")) == 1


def test_idle_worker_is_woken_without_a_message(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1", "w:2"])
    assert ledger.claim("w:1", "t1", ClaimRequest("predict", idle_seconds=5)) is None
    assert not ledger.await_wakeup("w:1", 0.01)
    one = job(ledger)
    assert ledger.add([one])[1] == []
    assert ledger.await_wakeup("w:1", 0.5)
    assert ids(ledger.claim("w:1", "t2", ClaimRequest("predict", idle_seconds=5))) == [one.id]


def test_woken_worker_that_died_is_not_waited_for(settings: Settings) -> None:
    ledger = Ledger(settings.replace(wakeup_timeout=0.2))
    ledger.renew("predict", ["w:1", "w:2"])
    ledger.claim("w:1", "t1", ClaimRequest("predict", idle_seconds=5))
    assert ledger.add([job(ledger)])[1] == []  # w:1 is woken and never claims
    until(lambda: reconcile(ledger)[2], 5, "another is woken up")


def test_no_second_worker_is_woken_beside_one_that_is_free_soon(settings: Settings) -> None:
    for attempt in range(100):
        ledger = Ledger(settings.replace(key_prefix=f"{settings.key_prefix}-{attempt}"))
        ledger.renew("predict", ["w:1", "w:2"])
        ledger.claim("w:2", "t0", ClaimRequest("predict", idle_seconds=5))
        added(ledger, 1)  # which wakes w:2
        assert ledger.await_wakeup("w:2", 0.5)
        began = time.monotonic()
        ledger.claim("w:2", "t1", ClaimRequest("predict", expected_seconds=0.005))  # it will be back in 5 ms
        wakeups = ledger.add([job(ledger)])[1]
        if time.monotonic() - began < 0.005:
            break  # otherwise this machine was busy, and w:2 is rightly woken
    else:
        pytest.fail("no claim and addition within 5 ms")
    assert wakeups == []
    time.sleep(0.02)  # longer than it said
    assert len(ledger.add([job(ledger)])[1]) == 1


def test_a_slow_worker_is_not_waited_for(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1", "w:2"])
    _, ((_, wakeup),) = ledger.add([job(ledger)])
    ledger.claim("w:2", "t1", ClaimRequest("predict", expected_seconds=3.0), wakeup)
    assert len(ledger.add([job(ledger)])[1]) == 1


def test_leaving_worker_requests_a_wakeup_after_recent_work(ledger: Ledger) -> None:
    ledger.renew("predict", ["w:1"])
    ledger.claim("w:1", "t1", ClaimRequest("predict", idle_seconds=5))
    assert len(ledger.sign_off("predict", "w:1", again=True)) == 1
    ledger.claim("w:1", "t2", ClaimRequest("predict", idle_seconds=5))
    assert ledger.sign_off("predict", "w:1") == []


def test_lost_wakeup_is_sent_again_by_the_reconciler(settings: Settings) -> None:
    ledger = Ledger(settings.replace(wakeup_timeout=0.2))
    ledger.renew("predict", ["w:1"])
    assert len(ledger.add([job(ledger)])[1]) == 1
    assert reconcile(ledger)[2] == []
    until(lambda: reconcile(ledger)[2], 5, "a wakeup is sent again")


def test_no_wakeup_is_sent_without_workers(ledger: Ledger) -> None:
    assert ledger.add([job(ledger)])[1] == []
    ledger.renew("predict", ["w:1"])
    assert [kind for kind, _ in reconcile(ledger)[2]] == ["predict"]


def test_unclaimed_work_is_seen_by_live_workers(settings: Settings) -> None:
    ledger = Ledger(settings)
    added(ledger, 1)
    ledger.renew("predict", ["w:1"])
    time.sleep(0.2)  # the time that is measured
    held, starved = ledger.renew("predict", ["w:1"])
    assert held == 0
    assert starved >= 0.2
    claim(ledger)
    assert ledger.renew("predict", ["w:1"]) == (1, 0.0)


# Memory


def test_finished_jobs_are_forgotten_by_time_and_size_and_open_jobs_never(settings: Settings) -> None:
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
    ledger.finish("w:2", succeeded(claim(ledger, "w:2", kind="train")))
    ledger.finish("w:1", succeeded(claim(ledger)))
    assert ledger.claim("w:1", "t9", ClaimRequest("predict")) is None
    assert ledger.claim("w:2", "t9", ClaimRequest("train")) is None
    keys = cast("list[bytes]", ledger.redis.keys(ledger.prefix + "*"))
    names = sorted(key.decode().removeprefix(ledger.prefix).split(":")[0] for key in keys)
    kept = [
        "finished",
        "job",
        "job",
        "jobs",
        "lane",
        "lane",
        "memory",
        "owners",
        "owners",
        "secret",
        "sequence",
        "speed",
        "speed",
    ]
    assert names == kept


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
        assert ledger.renew("predict", ["w:1"])[0] == 3
        reconcile(ledger)
        assert ledger.finish("w:1", succeeded(claimed))[0] == 3
    finally:
        pieces.stop()


# Reading the keys of a record from an id


def test_the_secret_is_made_once_and_shared(ledger: Ledger, settings: Settings) -> None:
    assert Ledger(settings).verifies(ledger.new_id())
    assert not Ledger(settings.replace(key_prefix=settings.key_prefix + "other")).verifies(ledger.new_id())


def test_stop_order_is_repeated_until_the_job_ends(ledger: Ledger) -> None:
    """The reply may be lost, and an unstopped training would run on for an hour."""
    add(ledger, one := job(ledger, kind=Kind.TRAIN))
    ledger.renew("train", ["t:1"])
    claim(ledger, "t:1", kind="train")
    assert ledger.cancel(one.id)[0] == "canceling"
    assert [ledger.stop_canceled("train", ["t:1", "t:2"])[0] for _ in range(2)] == [["t:1"], ["t:1"]]
    ledger.owner_died("train", "t:1")
    assert ledger.stop_canceled("train", ["t:1"])[0] == []
