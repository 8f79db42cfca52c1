"""The ledger and its model: every call is made on both, and they must agree."""

from collections.abc import Callable, Sequence

import pytest

from compare_and_set import CompareAndSet
from jobs import codec
from jobs.codec import Accepted
from jobs.errors import ChangesRejected, LedgerUnavailable
from jobs.job import WORKERS, Claim, ClaimedJob, ClaimRequest, Job, Kind, Outcome, Record, State
from jobs.ledger import Ledger
from tests.integration.ledger_model import ENDED, Known, Model, kind_of
from tests.integration.ledger_view import View, Watched, agree, nothing_is_left

NEVER = 1e6  # seconds without a round that would be an outage
OVER = "over"
MAX_PUSHED = 4000  # bytes
TAKEN_BACK: dict[str, Callable[[Ledger, str, str], object]] = {
    "released": Ledger.release,
    "left": Ledger.owner_left,
    "isolated": Ledger.isolate,
    "died": Ledger.owner_died,
    "timed_out": Ledger.time_out,
}


class Pushes:
    """The messages that are pushed to waiters."""

    def __init__(self, client: Watched) -> None:
        self._redis = client
        self._channel = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._channel.psubscribe("*")

    def until_now(self, channel: str) -> list[tuple[str, Record | None]]:
        self._redis.publish(OVER, "")
        messages: list[tuple[str, Record | None]] = []
        while True:
            message = self._channel.get_message(timeout=10)
            if message and message["channel"].decode() == OVER:
                return messages
            if message and message["channel"].decode() == channel:
                messages += codec.pushed(message["data"])

    def close(self) -> None:
        self._channel.close()


class Pair:
    """Makes every call on both. Deadlines, leases and ages pass when a test says so, not by the clock."""

    def __init__(self, ledger: Ledger, client: Watched) -> None:
        self.ledger = ledger
        self.model = Model(ledger.settings)
        self._redis = client
        client.watches = True
        self.claims: list[tuple[str, Claim]] = []
        self._tokens: dict[str, str] = {}
        self._changes = 0

    def agree(self) -> None:
        """Compare both if anything was called since."""
        if self._redis.seen:
            agree(self._view(), self.model)
            self._redis.seen = b""

    def _view(self) -> View:
        return View(self._redis.seen, self.ledger.prefix)

    # Clients

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Add the jobs that are new."""
        outcomes, _ = self.ledger.add(jobs)
        new = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            there = job.id in self.model.jobs
            expected, stands_for = self.model.add(job)
            if not isinstance(expected, State):
                assert type(outcome) is expected
                continue
            assert isinstance(outcome, Accepted)
            actual = outcome.state, outcome.repeats or job.id, outcome.existed
            assert actual == (expected, stands_for, there or stands_for != job.id)
            new += [] if outcome.existed else [job]
        return new

    def cancel(self, job_id: str) -> None:
        assert self.ledger.cancel(job_id)[0] == self.model.cancel(job_id)

    def poll(self, ids: Sequence[str]) -> None:
        for job_id, record in zip(ids, self.ledger.get_many(ids), strict=True):
            known = self.model.jobs.get(job_id)
            assert (record is None) == (known is None)
            if record and known:
                self._same(record, known)

    def _same(self, record: Record, known: Known) -> None:
        result = known.body if known.state == "succeeded" else None
        error = known.body if known.final and result is None else None
        actual = record.state, record.result, record.error, record.attempts, record.canceling, record.position
        assert actual == (known.state, result, error, known.attempts, known.canceling, self.model.position(known))
        assert (record.caller, record.metadata, record.kind) == (
            known.submit_options.caller,
            known.submit_options.metadata,
            known.kind,
        )
        assert (record.expires_at is not None) == (known.submit_options.expires_in > 0)
        assert record.deliveries == str(known.deliveries).replace(" ", "").encode()
        assert 1 <= record.retry_after <= 60

    def show(self, caller: str, limit: int, look_at: int, filters: Sequence[str]) -> None:
        """Compare a list, page by page."""
        shown, below = list[str](), None
        while True:
            page, end = self.ledger.list_jobs(caller, below, limit, look_at, filters)
            assert len(page) <= limit
            shown += [job_id for _, job_id in page]
            if end is None:
                break
            assert below is None or end < below
            below = end
        assert shown == self.model.listed(caller, *filters)

    # Workers

    def claim(self, owner: str, token: str, request: ClaimRequest) -> Claim | None:
        if owner in self.model.stopped:
            with pytest.raises(LedgerUnavailable):
                self.ledger.claim(owner, token, request)
            return None
        claim = self.ledger.claim(owner, token, request)
        assert claim is None or isinstance(claim, Claim)
        ids = [job.id for job in claim.jobs] if claim else []
        held = self.model.hands.get(owner)
        if held and self._tokens[owner] == token:
            assert ids == held
        else:
            self.model.take_back(owner, "released")
            allowed = self.model.claimable(request)
            assert ids in allowed if allowed else not ids
        if claim and not (held and self._tokens[owner] == token):
            self.model.claim(owner, ids)
        if claim:
            assert all(self.model.is_current(owner, job.id, job.fence) for job in claim.jobs)
            self._tokens[owner] = token
            self.claims.append((owner, claim))
        return claim

    def finish(self, owner: str, jobs: Sequence[ClaimedJob], state: State, size: int = 0, fits: bool | None = None) -> None:
        """``fits``: whether the precondition of its changes still holds; None without changes."""
        self._changes += 1
        body = f'"{self._changes:0{size}}"'.encode()
        now = self.model.written.get("alias", "")
        sent = [] if fits is None else [CompareAndSet("model:m", "alias", now if fits else "other", str(self._changes))]
        current = [self.model.is_current(owner, job.id, job.fence) for job in jobs]
        changes = bool(sent) and current[0] and not self.model.jobs[jobs[0].id].canceling
        outcomes = [Outcome(job, state, body) for job in jobs]
        if changes and not fits:
            with pytest.raises(ChangesRejected):
                self.ledger.finish(owner, outcomes, sent)
            return
        ended, _ = self.ledger.finish(owner, outcomes, sent)
        if sent and not current[0]:
            assert ended == 0
            return
        ours = [job for job, is_ours in zip(jobs, current, strict=True) if is_ours]
        assert ended == sum(self.model.finish(owner, job.id, state, body) for job in ours)
        if changes:
            self.model.written["alias"] = str(self._changes)

    def deliver(self, owner: str, delivery: ClaimedJob, again: bool) -> None:
        self._changes += 1
        attempt, payload = str(self._changes), b"p" * (self._changes % 50)
        self.ledger.deliver(owner, delivery, attempt.encode(), 3600.0 if again else None, payload)
        if self.model.is_current(owner, delivery.id, delivery.fence):
            self.model.deliver(delivery.id, self._changes, again, len(payload))

    def take_back(self, owner: str, why: str) -> None:
        TAKEN_BACK[why](self.ledger, kind_of(owner), owner)
        self.model.take_back(owner, why)

    def stop(self, owners: Sequence[str]) -> None:
        """Stop trainings, which are claimed one at a time."""
        assert self.ledger.stop_canceled(Kind.TRAIN, owners)[0] == self.model.stop(owners)

    # Time, and the reconciler

    def deadline_comes(self, known: Known) -> None:
        known.due = True
        self._redis.hset(f"{self.ledger.prefix}job:{known.id}", "expires_at", 1)
        self._redis.zadd(f"{self.ledger.prefix}deadlines", {known.id: 1}, xx=True)

    def leases_run_out(self, owners: Sequence[str]) -> None:
        for kind in WORKERS:
            self._set_back(f"owners:{kind}", [owner for owner in owners if kind_of(owner) == kind])
        self.model.silent |= set(owners)

    def renew(self, owner: str) -> None:
        held, _ = self.ledger.renew(kind_of(owner), [owner])
        assert held == len(self.model.hands.get(owner, []))
        self.model.silent.discard(owner)

    def delays_are_over(self) -> None:
        self._set_back("delayed", [known.id for known in self.model.of("delayed")])
        for known in self.model.of("delayed"):
            known.due = True

    def grow_old(self, final: Sequence[Known]) -> None:
        self._set_back("finished", [known.id for known in final])
        for known in final:
            known.old = True

    def _set_back(self, key: str, members: Sequence[str]) -> None:
        if members:
            self._redis.zadd(self.ledger.prefix + key, dict.fromkeys(members, 1), xx=True)

    def reconcile(self) -> None:
        done = self.ledger.reconcile(NEVER)
        assert (done.dead, done.ended) == self.model.reconcile()

    # The end

    def end(self, pushes: Pushes) -> None:
        """End all jobs: each end is pushed once, and forgotten jobs leave nothing."""
        for owner in [owner for owner, held in self.model.hands.items() if held]:
            self.take_back(owner, "released")
        self.delays_are_over()
        self.reconcile()
        for kind in (Kind.TRAIN, Kind.PREDICT, Kind.WEBHOOK):
            self.agree()
            self._do_all(kind)
            self._redis.look()
        self.agree()
        assert not self.model.of("queued", "running", "delayed")
        messages = pushes.until_now(self.ledger.finals_channel)
        assert sorted(map(_pushed, messages)) == sorted(map(_to_push, self.model.ends))
        self.grow_old(self.model.of(*ENDED))
        self.leases_run_out(list(self.model.owners))
        self.reconcile()
        nothing_is_left(self._view())

    def _do_all(self, kind: Kind) -> None:
        """Do all work, and compare only afterwards, because comparing is slow."""
        owner, turn, self._redis.watches = f"{kind}-9", 0, False
        while claim := self.claim(owner, f"last{turn}", ClaimRequest(kind)):
            turn += 1
            if kind is Kind.WEBHOOK:
                for delivery in claim.jobs:
                    self.deliver(owner, delivery, again=False)
            else:
                self.finish(owner, claim.jobs, State.SUCCEEDED)
        self._redis.watches = True


def _pushed(message: tuple[str, Record | None]) -> tuple[str, str, bytes]:
    job_id, record = message
    return (job_id, record.state, record.result or record.error or b"") if record else (job_id, "", b"")


def _to_push(end: tuple[str, str, bytes]) -> tuple[str, str, bytes]:
    """Return what is pushed: of a large record the id alone."""
    return end if len(end[2]) <= MAX_PUSHED else (end[0], "", b"")
