"""The ledger: the API and the workers share it, and it is the only source of truth about a job.

Every change is one Lua script; lua/keys.lua lists the keys.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import redis
from msgspec import Struct
from redis.commands.core import Script

from compare_and_set import CompareAndSet, as_arguments
from jobs import codec, ids
from jobs.codec import Accepted, Wakeups
from jobs.condition import Observation, observation
from jobs.errors import ChangesRejected, LedgerError, LedgerFull, LedgerUnavailable, NoRoom
from jobs.failures import DIED, LAPSED, TIMED_OUT
from jobs.job import WORKERS, Claim, ClaimedJob, ClaimLater, ClaimRequest, Job, Outcome, Record
from jobs.memory import MemoryPlan
from jobs.record_reader import UNLIMITED, RecordReader
from jobs.redis_connection import Breaker, connect
from jobs.scripts import PARTS, source
from settings import Settings

T = TypeVar("T")
ListEntry = tuple[int, str]  # place and id
Call = tuple[str, list[Any]]  # a script and its arguments


class MemoryLook(Struct, frozen=True):
    """What the reconciler has found: ``used``, the bytes that Redis uses, and ``full``, why no jobs may be accepted (empty if
    they may)."""

    plan: MemoryPlan
    used: int
    full: str = ""


class FailedJob(NamedTuple):
    """``group`` is "<model>/<version>"; ``error`` and ``metadata`` are JSON. If the record was deleted, all but the id is
    empty."""

    id: str
    kind: str
    group: str
    error: bytes
    metadata: bytes


class Reconciled(NamedTuple):
    """``now``: the ledger's time in ms. ``dead``: the number of owners whose lease ran out. ``ended``: the number of jobs that
    expired or whose record was deleted; ``more``: whether there are more of them."""

    now: int
    dead: int
    ended: int
    more: bool
    wakeups: Wakeups


class Ledger:
    """All calls raise LedgerUnavailable when Redis does not answer in time."""

    def __init__(self, settings: Settings, client: redis.Redis | None = None) -> None:
        self.settings = settings
        self.redis = client or connect(settings)
        self.prefix = f"{settings.key_prefix}:2:"
        self._breaker = Breaker(settings.redis_connections, settings.redis_timeout)
        self._scripts = {name: self.redis.register_script(source(name, settings)) for name in PARTS}
        self._clock_offset: float | None = None

    # For the API and other clients

    @cached_property
    def secret(self) -> bytes:
        """The key of the hash in job ids; created once and kept in Redis."""

        def read_or_create() -> bytes:
            self.redis.set(self.prefix + "secret", secrets.token_hex(32), nx=True)
            return cast("bytes", self.redis.get(self.prefix + "secret"))

        return self._breaker.call(read_or_create)

    @property
    def knows_secret(self) -> bool:
        return "secret" in self.__dict__

    def new_id(self, caller: str = "") -> str:
        return ids.new_id(self.secret, caller)

    def verifies(self, job_id: str, caller: str = "") -> bool:
        return ids.verifies(self.secret, job_id, caller)

    def add(self, jobs: Sequence[Job], timeout: float | None = None) -> tuple[list[Accepted | LedgerError], Wakeups]:
        """Accept jobs; idempotent by id. Redis adds nothing after ``timeout`` seconds, by default the time-out of a reply.

        Returns for each job an Accepted, or a LaneFull, LedgerFull, JobTooLarge, AfterFailed, PreconditionFailed or KeyReused.
        Raises LedgerFull.
        """
        return self.parse_added(self._run(*self.add_call(jobs, timeout)))

    def add_call(self, jobs: Sequence[Job], timeout: float | None = None) -> Call:
        limits = self.settings
        head = [self._wakeup_timeout, limits.lane_jobs, limits.lane_rows, limits.lane_bytes or ""]
        not_after = self.now_ms() + (self._reply_timeout if timeout is None else int(timeout * 1000))
        return "add", [not_after, *head, *(value for job in jobs for value in codec.as_arguments(job))]

    def parse_added(self, reply: Any) -> tuple[list[Accepted | LedgerError], Wakeups]:
        clock, outcomes, wakeups, *times = reply
        self.note_time(clock)
        if outcomes == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was accepted")
        if outcomes == b"full":
            raise LedgerFull(wakeups[0].decode())
        return codec.accepted(outcomes, times[0]), codec.wakeups(wakeups)

    def get(self, job_id: str, room: int = UNLIMITED) -> Record | None:
        return self.get_many([job_id], room)[0]

    def get_many(self, job_ids: Sequence[str], room: int = UNLIMITED) -> list[Record | None]:
        """``room``: the maximum bytes of results; a result that does not fit is left out."""
        reader = RecordReader(job_ids, room)
        while arguments := reader.next():
            reader.take(self._run("read", arguments))
        return reader.records()

    def idempotency_key(self, caller: str, key: str) -> str:
        """The Redis key that holds which job was accepted under a (hashed) Idempotency-Key."""
        return f"{self.prefix}key:{caller}:{key}"

    def cancel(self, job_id: str) -> tuple[str, Wakeups]:
        """Cancel a queued job at once, or request that a running one be stopped. Returns ``canceled``, ``canceling``,
        ``missing``, or the job's final state."""
        state, wakeups = self._run("cancel", [job_id, self._wakeup_timeout])
        return state.decode(), codec.wakeups(wakeups)

    def list_jobs(
        self, caller: str, below: int | None, limit: int, max_examined: int, filters: Sequence[str]
    ) -> tuple[list[ListEntry], int | None]:
        """A caller's jobs, newest first, that match ``filters``: state, kind, model and label, each empty for any.

        Returns at most ``limit`` jobs out of the next ``max_examined`` with a place below ``below``, and the ``below`` of the
        next page, which is None at the end.
        """
        start = "+inf" if below is None else below
        found, end = self._run("list", [caller, start, limit, max_examined, *filters])
        return codec.listed(found), int(end) if end else None

    # For workers

    def claim(self, owner: str, token: str, request: ClaimRequest, wakeup: str = "") -> Claim | ClaimLater | None:
        """Claim the next jobs; the same token gets the same jobs. If there are none, the owner is idle until it gets a wakeup
        (see ``await_wakeup``), or is signed off if ``idle_seconds`` is 0."""
        return self._claimed(self._run("claim", self._claim_arguments(owner, token, request, wakeup)))

    def finish(self, owner: str, outcomes: Sequence[Outcome], changes: Sequence[CompareAndSet] = ()) -> tuple[int, Wakeups]:
        """End jobs under their current fence. Returns how many jobs this owner still held. Raises ChangesRejected or NoRoom, and
        then nothing has changed."""
        status, ended, wakeups = self._run("finish", self._finish_arguments(owner, outcomes, changes))
        if status == b"conflict":
            raise ChangesRejected("changed meanwhile: " + ", ".join(change.field for change in changes))
        if status == b"no-room":
            needed = sum(len(change.value) for change in changes) + sum(len(outcome.body) for outcome in outcomes)
            raise NoRoom(f"Redis has no room for the {needed:,} bytes of its result and of what is to be published")
        return _ended(ended), codec.wakeups(wakeups)

    def finish_and_claim(
        self, owner: str, outcomes: Sequence[Outcome], token: str, request: ClaimRequest
    ) -> tuple[int, Wakeups, Claim | ClaimLater | None]:
        """``finish`` and then ``claim`` in one script, and so with one sync to disk."""
        finish, claim = self._finish_arguments(owner, outcomes, ()), self._claim_arguments(owner, token, request, "")
        (_, ended, wakeups), claimed = self._run("finish_and_claim", [len(finish), *finish, *claim])
        return _ended(ended), codec.wakeups(wakeups), self._claimed(claimed)

    def await_wakeup(self, owner: str, seconds: float) -> bool:
        """Wait for a wakeup of an idle owner. Returns whether one came within ``seconds``, which must be less than
        ``redis_timeout``."""
        return self._breaker.call(lambda: self.redis.blpop([f"{self.prefix}wake:{owner}"], seconds)) is not None

    def sign_off(self, kind: str, owner: str, again: bool = False) -> Wakeups:
        """The owner stops claiming. ``again``: return a wakeup for this kind even if no job waits."""
        return codec.wakeups(self._run("sign_off", [kind, owner, self._wakeup_timeout, int(again)]))

    def make_wakeup(self, kind: str) -> Wakeups:
        """One wakeup for this kind, whether or not a job waits."""
        return self.sign_off(kind, "", again=True)

    def release(self, kind: str, owner: str) -> Wakeups:
        """Return an owner's jobs to their lanes, without counting an attempt."""
        return self._take_back(kind, owner, "released", b"")

    def owner_left(self, kind: str, owner: str) -> Wakeups:
        """The owner has exited; its jobs return to their lanes, without counting an attempt."""
        return self._take_back(kind, owner, "left", b"")

    def isolate(self, kind: str, owner: str) -> Wakeups:
        """Return an owner's jobs to their lanes, each to be claimed alone."""
        return self._take_back(kind, owner, "isolated", b"")

    def owner_died(self, kind: str, owner: str, error: bytes = DIED.to_json()) -> Wakeups:
        """The owner has died. A job that was claimed alone counts a death, and fails with ``error`` (JSON) after the last allowed
        one; other jobs are isolated."""
        return self._take_back(kind, owner, "died", error)

    def time_out(self, kind: str, owner: str) -> Wakeups:
        """The owner exceeded its hard time limit: a job that was claimed alone fails, other jobs are isolated."""
        return self._take_back(kind, owner, "timed_out", TIMED_OUT.to_json())

    def renew(self, kind: str, owners: Sequence[str]) -> tuple[int, float]:
        """Renew the leases of live owners. Returns the number of jobs that they hold, and for how many seconds jobs have waited
        while no owner was listening."""
        held, starved = self._run("renew", [self._lease, kind, *owners])
        return held, starved / 1000

    def report(self, owner: str, job: ClaimedJob, progress: bytes) -> bool:
        """Store a job's progress (JSON). Returns whether the owner still holds the job."""
        return bool(self._run("report", [owner, job.id, job.fence, progress]))

    def stop_canceled(self, kind: str, owners: Sequence[str]) -> tuple[list[str], Wakeups]:
        """End those jobs of these owners that are being canceled. Returns the owners that held them: they can claim nothing more,
        and their processes must be ended."""
        stopped, wakeups = self._run("stop", [kind, self._wakeup_timeout, *owners])
        return [owner.decode() for owner in stopped], codec.wakeups(wakeups)

    def deliver(self, owner: str, delivery: ClaimedJob, attempt: bytes, again_in: float | None, payload: bytes) -> None:
        """Record an attempt to deliver a webhook (JSON; empty if there was none). ``again_in``: seconds until the next attempt
        with this payload, None for no further attempt. While too many bytes wait, the payload is replaced by the job's id, as for
        the first attempt."""
        again = "" if again_in is None else int(again_in * 1000)
        max_bytes = self.settings.lane_bytes or ""
        self._run("deliver", [owner, delivery.id, delivery.fence, attempt, again, payload, max_bytes])

    # For the reconciler, health checks and operators

    def retire(self, key: str, version: int, group: str, force: bool = False) -> str:
        """Delete a model's version unless an alias or (without ``force``) an open job names it. Returns ``retired``, ``aliased``,
        ``open`` or ``missing``."""
        outcome: bytes = self._run("retire", [key, version, group, int(force)])
        return outcome.decode()

    def reconcile(self, outage: float, expected: int | None = None, look: MemoryLook | None = None) -> Reconciled:
        """One round of the reconciler. ``outage``: seconds without a round after which all leases are extended. ``expected``: the
        ledger's time in ms by the caller's own clock."""
        s = self.settings
        head = [
            self._lease,
            int(outage * 1000),
            self._wakeup_timeout,
            int(s.keep * 1000),
            s.keep_bytes or "",
            s.max_lapses,
            LAPSED.to_json(),
        ]
        memory = [look.used, look.plan.room, look.plan.largest, look.full] if look else ["", "", "", ""]
        now, dead, ended, more, wakeups = self._run("reconcile", [*head, "" if expected is None else expected, *memory])
        return Reconciled(now, dead, ended, bool(more), codec.wakeups(wakeups))

    def live_owners(self, kind: str) -> list[str]:
        now = self._read_time()
        owners = self._breaker.call(lambda: self.redis.zrangebyscore(f"{self.prefix}owners:{kind}", now, "+inf"))
        return [owner.decode() for owner in cast("list[bytes]", owners)]

    def since_reconciled(self) -> float | None:
        """Seconds since the reconciler last ran; None if it never did."""
        last = self._breaker.call(lambda: self.redis.hget(self.prefix + "clock", "reconciled"))
        return None if last is None else max(0.0, (self._read_time() - int(cast("bytes", last))) / 1000)

    def observe(self) -> Observation:
        """What the parts of the service have recorded about their own condition."""
        return observation(self._run(*self.observe_call()))

    def observe_call(self) -> Call:
        return "condition", [kind.value for kind in WORKERS]

    def failed(self, reader: str, limit: int) -> tuple[int, list[FailedJob]]:
        """Failed jobs to be logged, the same ones until ``forget_failed``. Also returns how many were dropped because no reader
        logged any for a long time."""
        dropped, found = self._run("failed", [reader, limit])
        return dropped, [
            FailedJob(job_id.decode(), kind.decode(), group.decode(), error, metadata)
            for job_id, kind, group, error, metadata in found
        ]

    def forget_failed(self, reader: str) -> None:
        self._breaker.call(lambda: self.redis.delete(f"{self.prefix}failed:{reader}"))

    def promised(self) -> int:
        """Bytes reserved for the results of open jobs."""
        return int(self._breaker.call(lambda: self.redis.hget(self.prefix + "memory", "promised")) or 0)

    def waiting(self, lane: str) -> int:
        return int(self._breaker.call(lambda: self.redis.hget(f"{self.prefix}lane:{lane}", "jobs")) or 0)

    # Internals

    def guard(self, function: Callable[[], T]) -> T:
        """Run any call to the same Redis behind the ledger's circuit breaker."""
        return self._breaker.call(function)

    def script(self, name: str) -> Script:
        return self._scripts[name]

    @property
    def knows_time(self) -> bool:
        return self._clock_offset is not None

    def now_ms(self) -> int:
        """The ledger's time in ms, estimated from the last reply that contained it; never ahead of it."""
        if self._clock_offset is None:
            self.note_time(self._read_time())
        return int(time.monotonic() * 1000 + (self._clock_offset or 0))

    @property
    def finals_channel(self) -> str:
        return self.prefix + "finals"

    @property
    def _wakeup_timeout(self) -> int:
        return int(self.settings.wakeup_timeout * 1000)

    @property
    def _lease(self) -> int:
        return int(self.settings.lease * 1000)

    @property
    def _reply_timeout(self) -> int:
        """Milliseconds after which the caller stops waiting for a script, which then must have no effect."""
        return int(self.settings.redis_timeout * 1000)

    def _take_back(self, kind: str, owner: str, why: str, error: bytes) -> Wakeups:
        not_after = self.now_ms() + self._reply_timeout
        arguments = [kind, owner, why, self.settings.max_deaths, error, self._wakeup_timeout, not_after]
        now, count, wakeups = self._run("take_back", arguments)
        self.note_time(now)
        if count < 0:
            raise LedgerUnavailable("Redis answered too late; nothing was taken back")
        return codec.wakeups(wakeups)

    def _claim_arguments(self, owner: str, token: str, request: ClaimRequest, wakeup: str) -> list[Any]:
        limits = self.settings
        head = [self.now_ms() + self._reply_timeout, request.kind, owner, token, wakeup, self._lease]
        times = [int(request.idle_seconds * 1000), request.first_lane, int(request.expected_seconds * 1000) + 1]
        return [*head, *times, limits.claim_rows, limits.claim_bytes, *request.unloadable]

    def _claimed(self, reply: Any) -> Claim | ClaimLater | None:
        now, group, jobs, delay = reply
        self.note_time(now)
        if group == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was claimed")
        return ClaimLater(delay / 1000) if delay else codec.claim(group, jobs)

    def _finish_arguments(self, owner: str, outcomes: Sequence[Outcome], changes: Sequence[CompareAndSet]) -> list[Any]:
        ends = [value for o in outcomes for value in (o.job.id, o.job.fence, o.state.value, o.body)]
        return [owner, self._wakeup_timeout, len(changes), *as_arguments(changes), *ends]

    def _run(self, name: str, arguments: list[Any]) -> Any:
        script = self._scripts[name]

        def run() -> Any:
            try:
                return self.redis.evalsha(script.sha, 1, self.prefix, *arguments)
            except redis.exceptions.NoScriptError:
                self.redis.script_load(script.script)
                return self.redis.evalsha(script.sha, 1, self.prefix, *arguments)

        return self._breaker.call(run)

    def _read_time(self) -> int:
        """Read the ledger's time, in ms."""

        def read() -> tuple[tuple[int, int], bytes | None]:
            pipe = self.redis.pipeline(transaction=False)
            pipe.time()
            pipe.hget(self.prefix + "clock", "ahead")
            time_reply, ahead = pipe.execute()
            return time_reply, ahead

        return ledger_time(*self._breaker.call(read))

    def note_time(self, redis_ms: int) -> None:
        self._clock_offset = redis_ms - time.monotonic() * 1000


def ledger_time(time_reply: tuple[int, int], ahead: bytes | None) -> int:
    """The ledger's time in ms, from Redis's TIME (seconds, microseconds) and the ms that the ledger is ahead (see
    lua/clock.lua)."""
    seconds, microseconds = time_reply
    return int(seconds) * 1000 + int(microseconds) // 1000 + int(ahead or 0)


def _ended(outcomes: Sequence[bytes]) -> int:
    """How many of the finish script's outcomes are jobs that ended with their own outcome."""
    return sum(outcome in (b"finished", b"too-large") for outcome in outcomes)
