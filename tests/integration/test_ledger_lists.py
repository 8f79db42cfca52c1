"""The ledger's rules for readers: lists, the queue position, and Retry-After."""

from msgspec.structs import replace

from jobs.codec import Accepted
from jobs.errors import LaneFull
from jobs.job import Kind, Metadata, State
from jobs.ledger import Ledger
from jobs.record_reader import UNLIMITED
from settings import Settings
from tests.integration.jobs import LANE, accepted, add, added, claim, job, outcome_of, reconcile, record_of, succeeded
from tests.processes import until

# Lists


def shown(ledger: Ledger, caller: str = "", below: int | None = None, limit: int = 9, look_at: int = 99, **by: str) -> list[str]:
    filters = [by.get(name, "") for name in ("state", "kind", "model", "label")]
    return [job_id for _, job_id in ledger.list_jobs(caller, below, limit, look_at, filters)[0]]


def test_a_caller_sees_its_own_jobs_newest_first_and_no_others(ledger: Ledger) -> None:
    first, foreign, last = accepted(ledger, caller="anna"), accepted(ledger, caller="bert"), accepted(ledger, caller="anna")
    assert shown(ledger, "anna") == [last.id, first.id]
    assert (shown(ledger, "bert"), shown(ledger)) == ([foreign.id], [])
    assert record_of(ledger, foreign.id).caller == "bert"


def test_a_list_is_filtered_by_state_kind_model_and_label(ledger: Ledger) -> None:
    red, plain = accepted(ledger, metadata=Metadata(label="red")), accepted(ledger)
    training = replace(accepted(ledger, kind=Kind.TRAIN), model="rose")
    add(ledger, rose := replace(training, id=ledger.new_id()))
    ledger.cancel(plain.id)
    assert shown(ledger, label="red") == [red.id]
    assert shown(ledger, state="canceled") == [plain.id]
    assert shown(ledger, kind="train") == [rose.id, training.id]
    assert shown(ledger, model="rose") == [rose.id]
    assert shown(ledger, model="rose", state="canceled") == []
    assert record_of(ledger, red.id).metadata.label == "red"


def test_list_continues_below_its_cursor(ledger: Ledger) -> None:
    count = 450  # more than are read at once
    jobs = [accepted(ledger, metadata=Metadata(label="red" if place == 0 else "")) for place in range(count)]
    page, below = ledger.list_jobs("", None, 2, 100, ["", "", "", ""])
    assert [job_id for _, job_id in page] == [jobs[-1].id, jobs[-2].id]
    assert shown(ledger, below=below, limit=1000, look_at=1000) == [each.id for each in reversed(jobs[:-2])]
    page, below = ledger.list_jobs("", None, 2, 300, ["", "", "", "red"])  # it looks no further, though it has found none
    assert (page, below is None) == ([], False)
    page, below = ledger.list_jobs("", below, 2, 300, ["", "", "", "red"])
    assert ([job_id for _, job_id in page], below) == ([jobs[0].id], None)


def test_forgotten_jobs_are_in_no_list(settings: Settings) -> None:
    ledger = Ledger(settings.replace(keep=0.001))
    one, other = accepted(ledger, caller="anna"), accepted(ledger, caller="anna")
    ledger.cancel(one.id)
    until(lambda: reconcile(ledger)[1], 5, "it is forgotten")
    assert shown(ledger, "anna") == [other.id]


# Place in the queue


def test_queue_position_counts_the_whole_lane(ledger: Ledger) -> None:
    jobs = [job(ledger, version=1 + place % 2) for place in range(4)]
    add(ledger, *jobs, job(ledger, rows=1000))
    assert [record_of(ledger, each.id).position for each in jobs] == [1, 2, 3, 4]
    claim(ledger)
    assert [record_of(ledger, each.id).position for each in jobs] == [None, 1, None, 2]


def test_retry_after_follows_the_speed_of_the_lane(ledger: Ledger) -> None:
    jobs = added(ledger, 3)
    assert {record_of(ledger, each.id).retry_after for each in jobs} == {5}  # nobody is there
    ledger.renew("predict", ["w:1"])
    assert {record_of(ledger, each.id).retry_after for each in jobs} == {1}  # nobody knows how long it takes
    ledger.redis.set(f"{ledger.prefix}speed:{LANE}", 0.25)
    assert [record_of(ledger, each.id).retry_after for each in jobs] == [4, 8, 12]
    ledger.renew("predict", ["w:2"])
    assert [record_of(ledger, each.id).retry_after for each in jobs] == [2, 4, 6]
    ledger.redis.set(f"{ledger.prefix}speed:{LANE}", 0.001)
    outcome = outcome_of(ledger, job(ledger))
    assert isinstance(outcome, Accepted)
    assert outcome.retry_after == 60


def test_the_pace_of_a_lane_is_learned_from_what_is_done(ledger: Ledger) -> None:
    (one,) = added(ledger, 1)
    claimed = claim(ledger)
    ledger.redis.hset(f"{ledger.prefix}job:{one.id}", "started_at", record_of(ledger, one.id).created_at - 20_000)
    ledger.finish("w:1", succeeded(claimed))
    assert record_of(ledger, added(ledger, 1)[0].id).retry_after in (20, 21)
    assert ledger.redis.exists(f"{ledger.prefix}speed:predict.large") == 0


def test_a_full_lane_says_when_there_is_likely_to_be_room(settings: Settings) -> None:
    ledger = Ledger(settings.replace(lane_jobs=40))
    added(ledger, 40)
    ledger.renew("predict", ["w:1"])
    ledger.redis.set(f"{ledger.prefix}speed:{LANE}", 0.5)
    outcome = outcome_of(ledger, job(ledger))
    assert isinstance(outcome, LaneFull)
    assert outcome.retry_after == 4  # a twentieth of it


def test_results_beyond_the_size_limit_are_left_out(ledger: Ledger) -> None:
    ended = []
    for size in (50, 20, 50):
        ended.append(accepted(ledger).id)
        ledger.finish("w:1", succeeded(claim(ledger, token=ended[-1]), b"1" * size))
    for room, kept in ((UNLIMITED, [50, 20, 50]), (120, [50, 20, 50]), (119, [50, 20, 0]), (60, [50, 0, 0]), (0, [0, 0, 0])):
        records = ledger.get_many(ended, room)
        assert [len(record.result or b"") for record in records if record] == kept, room
        assert {record.state for record in records if record} == {State.SUCCEEDED}
