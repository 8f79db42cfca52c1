"""Jobs and workers for the ledger's tests."""

from typing import Any

from msgspec.structs import replace

from jobs.codec import Accepted
from jobs.errors import LedgerError
from jobs.job import Claim, ClaimLater, ClaimRequest, Job, Kind, Outcome, Record, State, SubmitOptions
from jobs.ledger import Ledger, MemoryLook
from jobs.memory import plan_memory
from tests.processes import Pieces

LANE = "predict.small"


def job(ledger: Ledger, model: str = "iris", version: int = 1, rows: int = 1, kind: Kind = Kind.PREDICT, after: str = "") -> Job:
    return Job(ledger.new_id(), kind, model, version, rows, b"payload", b"{}", after)


def add(ledger: Ledger, *jobs: Job) -> None:
    outcomes, _ = ledger.add(jobs)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes


def added(ledger: Ledger, count: int, **options: int | str) -> list[Job]:
    jobs = [job(ledger, **options) for _ in range(count)]  # type: ignore[arg-type]
    add(ledger, *jobs)
    return jobs


def on_terms(ledger: Ledger, kind: Kind = Kind.PREDICT, after: str = "", rows: int = 1, **terms: Any) -> Job:
    return replace(job(ledger, kind=kind, after=after, rows=rows), submit_options=SubmitOptions(**terms))


def accepted(ledger: Ledger, **options: Any) -> Job:
    one = on_terms(ledger, **options)
    add(ledger, one)
    return one


def outcome_of(ledger: Ledger, one: Job) -> Accepted | LedgerError:
    return ledger.add([one])[0][0]


def claim(
    ledger: Ledger, owner: str = "w:1", token: str = "t1", kind: str = "predict", unloadable: tuple[str, ...] = ()
) -> Claim:
    claimed = ledger.claim(owner, token, ClaimRequest(kind, unloadable))
    assert isinstance(claimed, Claim)
    return claimed


def ids(claimed: Claim | ClaimLater | None) -> list[str]:
    return [each.id for each in claimed.jobs] if isinstance(claimed, Claim) else []


def succeeded(claimed: Claim, body: bytes = b'{"prediction":1}') -> list[Outcome]:
    return [Outcome(each, State.SUCCEEDED, body) for each in claimed.jobs]


def state(ledger: Ledger, job_id: str) -> State | None:
    record = ledger.get(job_id)
    return record.state if record else None


def record_of(ledger: Ledger, job_id: str) -> Record:
    record = ledger.get(job_id)
    assert record is not None
    return record


def reconcile(ledger: Ledger, outage: float = 5.0) -> tuple[int, int, list[tuple[str, str]]]:
    """Run one round: dead owners, expired and forgotten jobs, wake-ups."""
    done = ledger.reconcile(outage)
    return done.dead, done.ended, done.wakeups


def accept_nothing(ledger: Ledger, why: str) -> None:
    """Stop accepting jobs for five seconds, as the reconciler does where the disk is full."""
    ledger.reconcile(5.0, look=MemoryLook(plan_memory(ledger.settings, 0), 0, why))


def expire_lease(ledger: Ledger, owner: str, kind: str = "predict") -> None:
    """Let the lease run out."""
    assert ledger.redis.zadd(f"{ledger.prefix}owners:{kind}", {owner: 1}, xx=True, ch=True) == 1


def ended(pieces: Pieces, *ids: str) -> list[Record]:
    records = pieces.ledger.get_many(ids)
    return [record for record in records if record and record.state.final]


def error_of(pieces: Pieces, job_id: str) -> bytes:
    record = pieces.ledger.get(job_id)
    assert record is not None
    return record.error or b""
