"""The ledger: the only meeting point of those who submit jobs and those who do them, and the only truth about a job.

Every change is one Lua script; see lua/keys.lua for the keys.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import redis
from msgspec import Struct
from redis.commands.core import Script

from jobs import codec, ids
from jobs.codec import Accepted, Wakeups
from jobs.condition import Observation, observation
from jobs.errors import EffectConflict, LedgerError, LedgerFull, LedgerUnavailable, NoRoom
from jobs.job import WORKERS, Claim, ClaimedJob, ClaimLater, ClaimRequest, Effect, Job, Outcome, Record
from jobs.memory import MemoryPlan
from jobs.record_reader import WHATEVER, Reading
from jobs.redis_connection import Breaker, connect
from jobs.scripts import PARTS, source
from settings import Settings

T = TypeVar("T")
Listed = tuple[int, str]  # place and id
Call = tuple[str, list[Any]]  # a script and its arguments

DIED = b'{"type":"worker-died","detail":"The worker process died each time it worked on this job."}'
LAPSED = b'{"type":"worker-died","detail":"The worker fell silent again and again while it had this job alone."}'
TIMED_OUT = b'{"type":"time-limit","detail":"The job ran over its time limit."}'


class MemoryLook(Struct, frozen=True):
    """What the reconciler has seen: bytes that Redis uses, and why nothing is to be accepted (empty if all is well)."""

    plan: MemoryPlan
    used: int
    full: str = ""


class FailedJob(NamedTuple):
    """``group`` is "<model>/<version>", ``error`` and ``more`` are JSON. Of one that was forgotten all but the id is empty."""

    id: str
    kind: str
    group: str
    error: bytes
    more: bytes


class Reconciled(NamedTuple):
    """``now``: the ledger's time in ms. ``dead``: owners whose lease ran out. ``ended``: jobs that expired or were forgotten, and
    ``more``: there are more of them."""

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

    # Those who submit and ask

    @cached_property
    def secret(self) -> bytes:
        """The key of the hash in job ids; made once, kept in Redis."""

        def read_or_make() -> bytes:
            self.redis.set(self.prefix + "secret", secrets.token_hex(32), nx=True)
            return cast("bytes", self.redis.get(self.prefix + "secret"))

        return self._breaker.call(read_or_make)

    @property
    def knows_secret(self) -> bool:
        return "secret" in self.__dict__

    def new_id(self, caller: str = "") -> str:
        return ids.new_id(self.secret, caller)

    def verifies(self, job_id: str, caller: str = "") -> bool:
        return ids.verifies(self.secret, job_id, caller)

    def add(self, jobs: Sequence[Job], patience: float | None = None) -> tuple[list[Accepted | LedgerError], Wakeups]:
        """Accept jobs; idempotent by id. Redis adds nothing once ``patience`` seconds have passed, by default those after
        which we give up on a reply.

        Per job an Accepted, or a LaneFull, LedgerFull, JobTooLarge, AfterFailed, Moved or KeyReused. Raises LedgerFull.
        """
        return self.added(self._run(*self.add_call(jobs, patience)))

    def add_call(self, jobs: Sequence[Job], patience: float | None = None) -> Call:
        limits = self.settings
        head = [self._wakeup_timeout, limits.lane_jobs, limits.lane_rows, limits.lane_bytes or ""]
        not_after = self._redis_time() + (self._patience if patience is None else int(patience * 1000))
        return "add", [not_after, *head, *(value for job in jobs for value in codec.as_arguments(job))]

    def added(self, reply: Any) -> tuple[list[Accepted | LedgerError], Wakeups]:
        now, outcomes, wakeups = reply
        self.note_time(now)
        if outcomes == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was accepted")
        if outcomes == b"full":
            raise LedgerFull(wakeups[0].decode())
        return [codec.accepted(*outcome) for outcome in outcomes], codec.wakeups(wakeups)

    def get(self, job_id: str, room: int = WHATEVER) -> Record | None:
        return self.get_many([job_id], room)[0]

    def get_many(self, job_ids: Sequence[str], room: int = WHATEVER) -> list[Record | None]:
        """``room``: bytes of results at most; one that goes beyond is left out."""
        reading = Reading(job_ids, room)
        while call := reading.next():
            reading.take(self._run("read", call))
        return reading.records()

    def key_of(self, caller: str, key: str) -> str:
        """Where it is kept which job was accepted under a (hashed) Idempotency-Key."""
        return f"{self.prefix}key:{caller}:{key}"

    def cancel(self, job_id: str) -> tuple[str, Wakeups]:
        """Cancels a job at once if it is queued, and has a running one stopped. Returns ``canceled``, ``canceling``, ``missing``
        or the final state it has."""
        state, wakeups = self._run("cancel", [job_id, self._wakeup_timeout])
        return state.decode(), codec.wakeups(wakeups)

    def listed(
        self, caller: str, below: int | None, most: int, look_at: int, filters: Sequence[str]
    ) -> tuple[list[Listed], int | None]:
        """A caller's jobs, newest first, at most ``most`` among the next ``look_at``, that fit ``filters``: state, kind, model
        and label, each empty for any. ``below``: the place to begin under. Also the place to go on under; None at the end."""
        begin = "+inf" if below is None else below
        found, end = self._run("list", [caller, begin, most, look_at, *filters])
        return codec.listed(found), int(end) if end else None

    # Those who work

    def claim(self, owner: str, token: str, request: ClaimRequest, wakeup: str = "") -> Claim | ClaimLater | None:
        """The next jobs; the same token gets the same jobs. Otherwise the owner either lingers, to be woken (see
        ``await_wake``), or has signed off."""
        return self._claimed(self._run(*self._claim_call(owner, token, request, wakeup)))

    def finish(self, owner: str, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()) -> tuple[int, Wakeups]:
        """End jobs under their current fence; how many were still ours. Raises EffectConflict or NoRoom, and then nothing is
        done."""
        status, ended, wakeups = self._run(*self._finish_call(owner, outcomes, effects))
        if status == b"conflict":
            raise EffectConflict("changed meanwhile: " + ", ".join(e.field for e in effects))
        if status == b"no-room":
            needed = sum(len(effect.value) for effect in effects) + sum(len(outcome.body) for outcome in outcomes)
            raise NoRoom(f"Redis has no room for the {needed:,} bytes of its result and of what is to be published")
        return _ended(ended), codec.wakeups(wakeups)

    def finish_and_claim(
        self, owner: str, outcomes: Sequence[Outcome], token: str, request: ClaimRequest
    ) -> tuple[int, Wakeups, Claim | ClaimLater | None]:
        """``finish`` and then ``claim`` in one round trip, and so one sync to disk."""
        calls = [self._finish_call(owner, outcomes, ()), self._claim_call(owner, token, request, "")]
        (_, ended, wakeups), claimed = self._run_all(calls)
        return _ended(ended), codec.wakeups(wakeups), self._claimed(claimed)

    def await_wake(self, owner: str, seconds: float) -> bool:
        """Whether the lingering owner was woken within so many seconds, which must be fewer than ``redis_timeout``."""
        return self._breaker.call(lambda: self.redis.blpop([f"{self.prefix}wake:{owner}"], seconds)) is not None

    def sign_off(self, kind: str, owner: str, again: bool = False) -> Wakeups:
        """``again``: knock for this kind even if nothing waits."""
        return codec.wakeups(self._run("sign_off", [kind, owner, self._wakeup_timeout, int(again)]))

    def wake(self, kind: str) -> Wakeups:
        """One knock for this kind, whether or not anything waits."""
        return self.sign_off(kind, "", again=True)

    def release(self, kind: str, owner: str) -> Wakeups:
        """Give an owner's work back, no attempt counted."""
        return self._take_back(kind, owner, "released", b"")

    def owner_left(self, kind: str, owner: str) -> Wakeups:
        """The owner stops for good; what it still has is given back, no attempt counted."""
        return self._take_back(kind, owner, "left", b"")

    def isolate(self, kind: str, owner: str) -> Wakeups:
        """Give an owner's work back, each job to be claimed alone."""
        return self._take_back(kind, owner, "isolated", b"")

    def owner_died(self, kind: str, owner: str, error: bytes = DIED) -> Wakeups:
        """The owner has died: a job that was alone counts a death, and the last one fails it with ``error`` (JSON); others are
        isolated."""
        return self._take_back(kind, owner, "died", error)

    def time_out(self, kind: str, owner: str) -> Wakeups:
        """The owner ran over its hard limit: a job that was alone fails, others are isolated."""
        return self._take_back(kind, owner, "timed_out", TIMED_OUT)

    def renew(self, kind: str, owners: Sequence[str]) -> tuple[int, float]:
        """Renew the leases of live owners. Returns the jobs in their hands, and for how many seconds work has waited unheard."""
        held, starved = self._run("renew", [self._lease, kind, *owners])
        return held, starved / 1000

    def report(self, owner: str, job: ClaimedJob, progress: bytes) -> bool:
        """How far a job is (JSON); whether it is still ours."""
        return bool(self._run("report", [owner, job.id, job.fence, progress]))

    def stop_canceled(self, kind: str, owners: Sequence[str]) -> tuple[list[str], Wakeups]:
        """End the jobs of these owners that are to be canceled. Returns the owners, who claim nothing more: their processes
        are to be ended."""
        stopped, wakeups = self._run("stop", [kind, self._wakeup_timeout, *owners])
        return [owner.decode() for owner in stopped], codec.wakeups(wakeups)

    def deliver(self, owner: str, delivery: ClaimedJob, attempt: bytes, again_in: float | None, payload: bytes) -> Wakeups:
        """How telling a job's end went (JSON; empty if it was not tried), and after how many seconds to try again, with this
        payload; None: no more. While too many bytes wait the payload is the job's id, as it was at first."""
        again = "" if again_in is None else int(again_in * 1000)
        most = self.settings.lane_bytes or ""
        _, wakeups = self._run(
            "deliver", [owner, delivery.id, delivery.fence, attempt, again, payload, most, self._wakeup_timeout]
        )
        return codec.wakeups(wakeups)

    # Those who look after it

    def retire(self, key: str, version: int, group: str, force: bool = False) -> str:
        """Forget a model's version, unless an alias or (not with ``force``) an open job names it. Returns ``retired``,
        ``aliased``, ``open`` or ``missing``."""
        told: bytes = self._run("retire", [key, version, group, int(force)])
        return told.decode()

    def reconcile(self, outage: float, expected: int | None = None, look: MemoryLook | None = None) -> Reconciled:
        """What nobody else will do. ``expected``: the ledger's time in ms by the caller's own clock."""
        s = self.settings
        head = [
            self._lease,
            int(outage * 1000),
            self._wakeup_timeout,
            int(s.keep * 1000),
            s.keep_bytes or "",
            s.max_lapses,
            LAPSED,
        ]
        seen = [look.used, look.plan.room, look.plan.largest, look.full] if look else ["", "", "", ""]
        now, dead, ended, more, wakeups = self._run("reconcile", [*head, "" if expected is None else expected, *seen])
        return Reconciled(now, dead, ended, bool(more), codec.wakeups(wakeups))

    def live_owners(self, kind: str) -> list[str]:
        since = self._ask_time()
        owners = self._breaker.call(lambda: self.redis.zrangebyscore(f"{self.prefix}owners:{kind}", since, "+inf"))
        return [owner.decode() for owner in cast("list[bytes]", owners)]

    def since_reconciled(self) -> float | None:
        """Seconds since the reconciler last ran; None if it never did."""
        last = self._breaker.call(lambda: self.redis.hget(self.prefix + "clock", "reconciled"))
        return None if last is None else max(0.0, (self._ask_time() - int(cast("bytes", last))) / 1000)

    def observe(self) -> Observation:
        """What the parts of the service keep here about themselves."""
        return observation(self._run(*self.observe_call()))

    def observe_call(self) -> Call:
        return "condition", [kind.value for kind in WORKERS]

    def note_unloadable(self, kind: str, group: str, why: str, seconds: float) -> None:
        """A worker could not load this group's version, for the health checks; it holds for so many seconds."""
        self._note(f"unloadable:{kind}", group, why, seconds)

    def withdraw_unloadable(self, kind: str, group: str) -> None:
        """It can be loaded by now; a worker that still cannot notes it again."""
        self._breaker.call(lambda: self.redis.hdel(f"{self.prefix}unloadable:{kind}", group))

    def note_loadable(self, kind: str, group: str, seconds: float) -> None:
        """This worker has loaded what another could not."""
        self._note(f"loadable:{kind}", group, "", seconds)

    def report_problem(self, code: str, detail: str, seconds: float) -> None:
        """A problem with what is outside of the ledger (see condition.REPORTED), for the health checks."""
        self._note("reports", code, detail, seconds)

    def withdraw_problem(self, code: str) -> None:
        self._breaker.call(lambda: self.redis.hdel(f"{self.prefix}reports", code))

    def unloadable(self, kind: str) -> dict[str, str]:
        """Groups that a worker could not load lately, and why."""
        key = f"{self.prefix}unloadable:{kind}"
        found = cast("dict[bytes, bytes]", self._breaker.call(lambda: self.redis.hgetall(key)))
        told = {group.decode(): value.decode().partition(" ") for group, value in found.items()}
        now = self._redis_time()
        over = [group for group, (until, _, _) in told.items() if int(until) < now]
        if over:
            self._breaker.call(lambda: self.redis.hdel(key, *over))
            self._breaker.call(lambda: self.redis.hdel(f"{self.prefix}loadable:{kind}", *over))
        return {group: why for group, (_, _, why) in told.items() if group not in over}

    def failed(self, reader: str, most: int) -> tuple[int, list[FailedJob]]:
        """Jobs that have failed and are to be logged, the same again until ``forget_failed``; and how many were left out because
        nobody logged any for long."""
        left_out, found = self._run("failed", [reader, most])
        return left_out, [
            FailedJob(job_id.decode(), kind.decode(), group.decode(), error, more) for job_id, kind, group, error, more in found
        ]

    def forget_failed(self, reader: str) -> None:
        self._breaker.call(lambda: self.redis.delete(f"{self.prefix}failed:{reader}"))

    def promised(self) -> int:
        """Bytes that the results of open jobs may take."""
        return int(self._breaker.call(lambda: self.redis.hget(self.prefix + "memory", "promised")) or 0)

    def waiting(self, lane: str) -> int:
        return int(self._breaker.call(lambda: self.redis.hget(f"{self.prefix}lane:{lane}", "jobs")) or 0)

    # Inside

    def guard(self, function: Callable[[], T]) -> T:
        """Run another's call to the same Redis under the ledger's breaker."""
        return self._breaker.call(function)

    def script(self, name: str) -> Script:
        return self._scripts[name]

    @property
    def knows_time(self) -> bool:
        return self._clock_offset is not None

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
    def _patience(self) -> int:
        """Milliseconds after which a caller has given up on a script, which then must not run any more."""
        return int(self.settings.redis_timeout * 1000)

    def _note(self, key: str, field: str, text: str, seconds: float) -> None:
        """In a hash whose values hold for a while; condition.lua reads them."""
        until = self._redis_time() + int(seconds * 1000)
        self._breaker.call(lambda: self.redis.hset(self.prefix + key, field, f"{until} {text}"))

    def _take_back(self, kind: str, owner: str, why: str, error: bytes) -> Wakeups:
        not_after = self._redis_time() + self._patience
        arguments = [kind, owner, why, self.settings.max_deaths, error, self._wakeup_timeout, not_after]
        now, count, wakeups = self._run("take_back", arguments)
        self.note_time(now)
        if count < 0:
            raise LedgerUnavailable("Redis answered too late; nothing was taken back")
        return codec.wakeups(wakeups)

    def _claim_call(self, owner: str, token: str, request: ClaimRequest, wakeup: str) -> Call:
        limits, a = self.settings, request
        head = [self._redis_time() + self._patience, a.kind, owner, token, wakeup, self._lease]
        tail = [int(a.linger * 1000), a.first_lane, int(a.usual * 1000) + 1]
        return "claim", [*head, *tail, limits.claim_rows, limits.claim_bytes, *a.unloadable]

    def _claimed(self, reply: Any) -> Claim | ClaimLater | None:
        now, group, jobs, rest = reply
        self.note_time(now)
        if group == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was claimed")
        return ClaimLater(rest / 1000) if rest else codec.claim(group, jobs)

    def _finish_call(self, owner: str, outcomes: Sequence[Outcome], effects: Sequence[Effect]) -> Call:
        changes = [value for e in effects for value in (e.key, e.field, e.expected, e.value, int(e.stamped))]
        ends = [value for o in outcomes for value in (o.job.id, o.job.fence, o.state.value, o.body)]
        return "finish", [owner, self._wakeup_timeout, len(effects), *changes, *ends]

    def _run(self, name: str, arguments: list[Any]) -> Any:
        script = self._scripts[name]
        return self._breaker.call(lambda: self._or_load(lambda: self.redis.evalsha(script.sha, 1, self.prefix, *arguments)))

    def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """In one round trip, in order."""

        def run() -> list[Any]:
            pipe = self.redis.pipeline(transaction=False)
            for name, arguments in calls:
                pipe.evalsha(self._scripts[name].sha, 1, self.prefix, *arguments)
            return pipe.execute()

        return self._breaker.call(lambda: self._or_load(run))

    def _or_load(self, run: Callable[[], T]) -> T:
        """Once more with all scripts loaded, if Redis does not know one. All in their order: where `claim` is known `finish` is
        too, or a claim would run without the finish before it, and take the work that was done for given up."""
        try:
            return run()
        except redis.exceptions.NoScriptError:
            for name in PARTS:
                self.redis.script_load(self._scripts[name].script)
            return run()

    def _redis_time(self) -> int:
        """The ledger's clock in ms, never ahead of it: reckoned from the last reply that carried it."""
        if self._clock_offset is None:
            self.note_time(self._ask_time())
        return int(time.monotonic() * 1000 + (self._clock_offset or 0))

    def _ask_time(self) -> int:
        """The ledger's clock in ms."""

        def ask() -> tuple[tuple[int, int], bytes | None]:
            pipe = self.redis.pipeline(transaction=False)
            pipe.time()
            pipe.hget(self.prefix + "clock", "ahead")
            told, ahead = pipe.execute()
            return told, ahead

        return ledger_time(*self._breaker.call(ask))

    def note_time(self, redis_ms: int) -> None:
        self._clock_offset = redis_ms - time.monotonic() * 1000


def ledger_time(told: tuple[int, int], ahead: bytes | None) -> int:
    """In ms, of Redis's seconds and microseconds and of how far the ledger is ahead (see lua/clock.lua)."""
    return int(told[0]) * 1000 + int(told[1]) // 1000 + int(ahead or 0)


def _ended(outcomes: Sequence[bytes]) -> int:
    """Of the outcomes that the script tells: how many jobs have ended with this."""
    return sum(outcome in (b"finished", b"too-large") for outcome in outcomes)
