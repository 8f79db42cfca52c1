"""The ledger reserves memory for a job's result when the job is accepted."""

import pytest
from msgspec.structs import replace

from compare_and_set import CompareAndSet
from jobs.codec import Accepted
from jobs.errors import JobTooLarge, LedgerFull, NoRoom, UnsafeRedis
from jobs.job import Job, Kind, Outcome, State
from jobs.ledger import Ledger, MemoryLook
from jobs.memory import MemoryPlan, plan_memory
from settings import Settings
from tests.integration.jobs import added, claim, job, on_terms, outcome_of, record_of, state, succeeded
from tests.processes import until

ROOM = 100_000


def look(ledger: Ledger, room: int = ROOM, largest: int = ROOM // 2, used: int = 0) -> None:
    """Sample memory as the reconciler does."""
    ledger.reconcile(5.0, look=MemoryLook(MemoryPlan(room, room, largest), used))


def with_result(ledger: Ledger, result_bytes: int, payload: int = 100, kind: Kind = Kind.PREDICT) -> Job:
    return replace(job(ledger, kind=kind), payload=b"p" * payload, result_bytes=result_bytes)


def memory(ledger: Ledger) -> dict[str, int]:
    found = ledger.redis.hgetall(f"{ledger.prefix}memory")
    return {name.decode(): int(found.get(name, 0)) for name in (b"open", b"promised", b"finished")}


def test_a_job_whose_result_would_not_fit_is_refused_until_there_is_room(ledger: Ledger) -> None:
    look(ledger)
    taken = [with_result(ledger, 30_000) for _ in range(3)]
    assert all(isinstance(outcome_of(ledger, each), Accepted) for each in taken)
    refused = outcome_of(ledger, with_result(ledger, 30_000))
    assert isinstance(refused, LedgerFull)
    assert refused.retry_after >= 1
    ledger.cancel(taken[0].id)
    assert isinstance(outcome_of(ledger, with_result(ledger, 20_000)), Accepted)


def test_job_that_could_exceed_the_limit_of_one_job_is_refused_for_good(ledger: Ledger) -> None:
    look(ledger)
    refused = outcome_of(ledger, with_result(ledger, 60_000))
    assert isinstance(refused, JobTooLarge)
    assert "50,000" in str(refused)
    assert isinstance(outcome_of(ledger, with_result(ledger, 0, payload=60_000)), JobTooLarge)


def test_foreign_data_in_redis_counts(ledger: Ledger) -> None:
    look(ledger, used=90_000)
    assert isinstance(outcome_of(ledger, with_result(ledger, 20_000)), LedgerFull)
    look(ledger, used=10_000)
    assert isinstance(outcome_of(ledger, with_result(ledger, 20_000)), Accepted)


def test_room_is_released_when_jobs_end(ledger: Ledger) -> None:
    look(ledger)
    done, failed, canceled, notified = (with_result(ledger, 10_000) for _ in range(4))
    notified = replace(notified, submit_options=on_terms(ledger, host="host.example").submit_options)
    for each in (done, failed, canceled, notified):
        assert isinstance(outcome_of(ledger, each), Accepted)
    ledger.cancel(canceled.id)
    claimed = claim(ledger)
    ends = [State.SUCCEEDED, State.FAILED, State.SUCCEEDED]
    ledger.finish("w:1", [Outcome(each, end, b"{}") for each, end in zip(claimed.jobs, ends, strict=True)])
    delivery = claim(ledger, "h:1", kind="webhook").jobs[0]
    ledger.deliver("h:1", delivery, b"", None, b"")
    assert memory(ledger)["open"] == memory(ledger)["promised"] == 0
    for each in (done, failed, canceled, notified):
        ledger.redis.zadd(f"{ledger.prefix}finished", {each.id: 1}, xx=True)
    ledger.reconcile(5.0)
    assert memory(ledger) == {"open": 0, "promised": 0, "finished": 0}


def test_oldest_results_are_removed_for_a_job_and_fresh_ones_are_kept(ledger: Ledger) -> None:
    look(ledger)
    old, fresh = added(ledger, 2)
    ledger.finish("w:1", succeeded(claim(ledger), b"x" * 40_000))
    assert isinstance(outcome_of(ledger, with_result(ledger, 40_000)), LedgerFull)
    ledger.redis.zincrby(f"{ledger.prefix}finished", -10_000, old.id)
    assert isinstance(outcome_of(ledger, with_result(ledger, 40_000)), Accepted)
    assert (state(ledger, old.id), state(ledger, fresh.id)) == (None, State.SUCCEEDED)


def test_result_beyond_its_reservation_fails_its_job_without_room(ledger: Ledger) -> None:
    look(ledger)
    first, second = with_result(ledger, 1000), with_result(ledger, 1000)
    ledger.add([first, second])
    claimed = claim(ledger)
    ends = [Outcome(claimed.jobs[0], State.SUCCEEDED, b"x" * 200_000), Outcome(claimed.jobs[1], State.SUCCEEDED, b"{}")]
    assert ledger.finish("w:1", ends)[0] == 2
    assert b"result-too-large" in (record_of(ledger, first.id).error or b"")
    assert state(ledger, second.id) is State.SUCCEEDED


def test_result_beyond_its_reservation_is_accepted_with_room(ledger: Ledger) -> None:
    look(ledger)
    ledger.add([one := with_result(ledger, 1000)])
    ledger.finish("w:1", succeeded(claim(ledger), b"x" * 20_000))
    assert state(ledger, one.id) is State.SUCCEEDED


def test_publishing_without_room_changes_nothing(ledger: Ledger) -> None:
    look(ledger)
    ledger.add([one := with_result(ledger, 1000, kind=Kind.TRAIN)])
    claimed = claim(ledger, kind="train")
    with pytest.raises(NoRoom, match="200,0"):
        ledger.finish("w:1", succeeded(claimed), [CompareAndSet("model:m", "card:1", "", "c" * 200_000)])
    assert state(ledger, one.id) is State.RUNNING
    assert ledger.redis.hget(f"{ledger.prefix}model:m", "card:1") is None
    assert ledger.finish("w:1", succeeded(claimed), [CompareAndSet("model:m", "card:1", "", "c")])[0] == 1


def test_jobs_from_before_reservations_end(ledger: Ledger) -> None:
    ledger.add([one := with_result(ledger, 1000)])
    ledger.redis.hdel(f"{ledger.prefix}job:{one.id}", "cost", "room")
    ledger.redis.delete(f"{ledger.prefix}memory")
    look(ledger)
    ledger.finish("w:1", succeeded(claim(ledger), b"x" * 200_000))
    assert state(ledger, one.id) is State.SUCCEEDED
    assert memory(ledger)["open"] == 0


def test_claim_is_no_larger_than_the_limit_of_one_job(ledger: Ledger) -> None:
    look(ledger, largest=10_000)
    for _ in range(5):
        ledger.add([with_result(ledger, 0, payload=4000)])
    assert len(claim(ledger).jobs) == 2


def test_nothing_is_accepted_for_five_seconds_after_the_reconciler_said_so(ledger: Ledger) -> None:
    ledger.reconcile(5.0, look=MemoryLook(plan_memory(ledger.settings, 0), 0, "the disk is nearly full"))
    with pytest.raises(LedgerFull, match="disk"):
        ledger.add([job(ledger)])
    until(lambda: isinstance(_try(ledger), Accepted), 8, "it is accepted again, though no reconciler looks")


def _try(ledger: Ledger) -> object:
    try:
        return outcome_of(ledger, job(ledger))
    except LedgerFull as error:
        return error


def test_bounds_are_derived_from_maxmemory_and_checked_at_start() -> None:
    plan = plan_memory(Settings(), 32_000_000)
    assert plan == MemoryPlan(32_000_000, 24_000_000, 1_000_000)
    assert plan_memory(Settings(maxmemory=64_000_000), 0).maxmemory == 64_000_000
    with pytest.raises(UnsafeRedis, match="32,000,000 bytes or more"):
        plan_memory(Settings(), 31_999_999)
    for name in ("keep_bytes", "lane_bytes"):
        with pytest.raises(UnsafeRedis, match=f"MLDEPLOY_{name.upper()} is 512,000,000 bytes"):
            plan_memory(Settings().replace(**{name: 512_000_000}), 60_000_000)


def publish_without_room(ledger: Ledger, size: int) -> None:
    """Finish a training with a card of this many bytes, for which there is no room."""
    ledger.add([with_result(ledger, 1000, kind=Kind.TRAIN)])
    training = claim(ledger, kind="train")
    with pytest.raises(NoRoom):
        ledger.finish("w:1", succeeded(training), [CompareAndSet("model:m", "card:1", "", "c" * size)])


def test_no_result_is_removed_for_a_job_that_can_never_fit(ledger: Ledger) -> None:
    look(ledger)
    (old,) = added(ledger, 1)
    ledger.finish("w:1", succeeded(claim(ledger), b"x" * 1000))
    ledger.redis.zincrby(f"{ledger.prefix}finished", -10_000, old.id)
    publish_without_room(ledger, 200_000)
    assert state(ledger, old.id) is State.SUCCEEDED


def test_removed_results_are_no_longer_counted(ledger: Ledger) -> None:
    look(ledger)
    old, _ = added(ledger, 2)
    ledger.finish("w:1", succeeded(claim(ledger), b"x" * 40_000))
    ledger.redis.zincrby(f"{ledger.prefix}finished", -10_000, old.id)
    publish_without_room(ledger, 80_000)
    assert state(ledger, old.id) is None
    assert 40_000 < memory(ledger)["finished"] < 50_000
