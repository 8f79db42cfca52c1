"""The ledger: the only meeting point of those who submit jobs and those who do them, and the only truth about a job.

Every change is one Lua script; see lua/ledger.lua for the keys.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import resources
from typing import Any, TypeVar, cast

import redis

from jobs import identity
from jobs.connection import Breaker, connect
from jobs.errors import AfterFailed, EffectConflict, LaneFull, LedgerError, LedgerFull, LedgerUnavailable
from jobs.job import LANES, Claim, ClaimedJob, Effect, Job, Kind, Outcome, Record, State
from settings import Settings

T = TypeVar("T")
Rings = list[tuple[str, str]]  # (lane, bell): knocks that the caller has to make

FIELDS = ("kind", "state", "group", "rows", "attempts", "created_at", "started_at", "finished_at", "worker")
DIED = b'{"type":"worker-died","detail":"The worker process died each time it worked on this job."}'
LAPSED = b'{"type":"worker-died","detail":"The worker fell silent again and again while it had this job alone."}'
TIMED_OUT = b'{"type":"time-limit","detail":"The job ran over its time limit."}'
CANCELED = b'{"type":"canceled","detail":"The job was canceled before it started."}'


class Accepted:
    """What ``add`` says of a job: when it was created, its state, and whether it was there already."""

    __slots__ = ("created_at", "existed", "state")

    def __init__(self, created_at: int, state: State, existed: bool) -> None:
        self.created_at = created_at
        self.state = state
        self.existed = existed


class Ledger:
    """All calls raise LedgerUnavailable when Redis does not answer in time."""

    def __init__(self, settings: Settings, client: redis.Redis | None = None) -> None:
        self.settings = settings
        self.redis = client or connect(settings)
        self.prefix = f"{settings.key_prefix}:1:"
        self._breaker = Breaker(settings.redis_connections, settings.redis_timeout)
        self._scripts = {name: self._script(name) for name in SCRIPTS}
        self._clock_offset: float | None = None

    # Those who submit and ask

    @cached_property
    def secret(self) -> bytes:
        """The key of the hash in job ids; made once, kept in Redis."""

        def read_or_make() -> bytes:
            self.redis.set(self.prefix + "secret", secrets.token_hex(32), nx=True)
            return cast("bytes", self.redis.get(self.prefix + "secret"))

        return self._breaker.call(read_or_make)

    def new_id(self, owner: str = "") -> str:
        return identity.new_id(self.secret, owner)

    def verifies(self, job_id: str, owner: str = "") -> bool:
        return identity.verifies(self.secret, job_id, owner)

    def add(self, jobs: Sequence[Job], patience: float | None = None) -> tuple[list[Accepted | LedgerError], Rings]:
        """Accept jobs; idempotent by id. Redis adds nothing once ``patience`` seconds have passed, by default those after
        which we give up on a reply.

        Per job an Accepted, or a LaneFull or AfterFailed. Raises LedgerFull.
        """
        limits = self.settings
        head = [self._bell, limits.lane_jobs, limits.lane_rows, limits.lane_bytes]
        body = [value for job in jobs for value in _as_arguments(job)]
        not_after = self._redis_time() + (self._patience if patience is None else int(patience * 1000))
        reply = self._run("add", [not_after, *head, *body])
        now, outcomes, rings = reply
        self._note_time(now)
        if outcomes == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was accepted")
        if outcomes == b"full":
            raise LedgerFull(rings[0].decode())
        return [_accepted(*outcome) for outcome in outcomes], _rings(rings)

    def get(self, job_id: str) -> Record | None:
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Record | None]:
        """In one round trip, without the payloads."""

        def read() -> list[Any]:
            pipe = self.redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hmget(f"{self.prefix}job:{job_id}", *FIELDS, "result", "error")
            return pipe.execute()

        return [_record(*pair) for pair in zip(job_ids, self._breaker.call(read), strict=True)]

    def cancel(self, job_id: str) -> tuple[str, Rings]:
        """Cancels a queued job. Returns ``canceled``, ``missing``, ``running`` or the final state it has."""
        state, rings = self._run("cancel", [job_id, CANCELED, self._bell])
        return state.decode(), _rings(rings)

    # Those who work

    def claim(self, lane: str, owner: str, token: str, bell: str = "", unloadable: Sequence[str] = ()) -> Claim | None:
        """The next jobs of the lane; the same token gets the same jobs. None: the lane is empty, the owner signed off."""
        limits = self.settings
        most = 1 if lane in LANES[Kind.TRAIN] else limits.claim_jobs
        bounds = [most, limits.claim_rows, limits.claim_bytes]
        head = [self._redis_time() + self._patience, lane, owner, token, bell, self._lease]
        now, group, jobs = self._run("claim", [*head, *bounds, *unloadable])
        self._note_time(now)
        if group == b"late":
            raise LedgerUnavailable("Redis answered too late; nothing was claimed")
        if not jobs:
            return None
        model, _, version = group.decode().rpartition("/")
        return Claim(model, int(version), tuple(_claimed(*job) for job in jobs))

    def finish(self, owner: str, outcomes: Sequence[Outcome], effects: Sequence[Effect] = ()) -> tuple[int, Rings]:
        """End jobs under their current fence; how many were still ours. Raises EffectConflict, and then nothing is done."""
        changes = [value for e in effects for value in (e.key, e.field, e.expected, e.value)]
        ends = [value for o in outcomes for value in (o.job.id, o.job.fence, o.state.value, o.body)]
        status, ended, rings = self._run("finish", [owner, self._bell, len(effects), *changes, *ends])
        if status == b"conflict":
            raise EffectConflict("changed meanwhile: " + ", ".join(e.field for e in effects))
        return sum(outcome == b"finished" for outcome in ended), _rings(rings)

    def sign_off(self, lane: str, owner: str) -> Rings:
        return _rings(self._run("sign_off", [lane, owner, self._bell]))

    def release(self, kind: str, owner: str) -> Rings:
        """Give an owner's work back, no attempt counted."""
        return self._take_back(kind, owner, "released", b"")

    def leave(self, kind: str, owner: str) -> Rings:
        """The owner stops for good; what it still has is given back, no attempt counted."""
        return self._take_back(kind, owner, "left", b"")

    def isolate(self, kind: str, owner: str) -> Rings:
        """Give an owner's work back, each job to be claimed alone."""
        return self._take_back(kind, owner, "isolated", b"")

    def bury(self, kind: str, owner: str) -> Rings:
        """The owner has died: a job that was alone counts a death, others are isolated."""
        return self._take_back(kind, owner, "died", DIED)

    def time_out(self, kind: str, owner: str) -> Rings:
        """The owner ran over its hard limit: a job that was alone fails, others are isolated."""
        return self._take_back(kind, owner, "timed_out", TIMED_OUT)

    def renew(self, kind: str, lanes: Sequence[str], owners: Sequence[str]) -> tuple[int, float]:
        """Renew the leases of live owners. Returns the jobs in their hands, and for how many seconds work has waited unheard."""
        held, starved = self._run("renew", [self._lease, kind, len(lanes), *lanes, *owners])
        return held, starved / 1000

    # Those who look after it

    def reconcile(self, kinds: Sequence[str], lanes: Sequence[str], outage: float) -> tuple[int, int, Rings]:
        """What nobody else will do. Returns owners found dead, finished jobs forgotten, and knocks to make."""
        s = self.settings
        head = [self._lease, int(outage * 1000), self._bell, int(s.keep * 1000), s.keep_bytes, s.max_lapses, LAPSED]
        dead, forgotten, rings = self._run("reconcile", [*head, len(kinds), *kinds, *lanes])
        return dead, forgotten, _rings(rings)

    def mark_full(self, why: str, seconds: float) -> None:
        self._breaker.call(lambda: self.redis.set(self.prefix + "full", why, px=int(seconds * 1000)))

    def live_owners(self, kind: str) -> list[str]:
        now = self._breaker.call(self.redis.time)
        since = now[0] * 1000 + now[1] // 1000
        owners = self._breaker.call(lambda: self.redis.zrangebyscore(f"{self.prefix}owners:{kind}", since, "+inf"))
        return [owner.decode() for owner in cast("list[bytes]", owners)]

    def since_reconciled(self) -> float | None:
        """Seconds since the reconciler last ran; None if it never did."""
        last = self._breaker.call(lambda: self.redis.get(self.prefix + "reconciled"))
        seconds, micros = self._breaker.call(self.redis.time)
        return None if last is None else seconds + micros / 1e6 - int(last) / 1000

    def waiting(self, lane: str) -> int:
        return int(self._breaker.call(lambda: self.redis.hget(f"{self.prefix}lane:{lane}", "jobs")) or 0)

    # Inside

    def guard(self, function: Callable[[], T]) -> T:
        """Run another's call to the same Redis under the ledger's breaker."""
        return self._breaker.call(function)

    @property
    def finals_channel(self) -> str:
        return self.prefix + "finals"

    @property
    def _bell(self) -> int:
        return int(self.settings.bell * 1000)

    @property
    def _lease(self) -> int:
        return int(self.settings.lease * 1000)

    @property
    def _patience(self) -> int:
        """Milliseconds after which a caller has given up on a script, which then must not run any more."""
        return int(self.settings.redis_timeout * 1000)

    def _take_back(self, kind: str, owner: str, why: str, error: bytes) -> Rings:
        not_after = self._redis_time() + self._patience
        arguments = [kind, owner, why, self.settings.max_deaths, error, self._bell, not_after]
        now, count, rings = self._run("take_back", arguments)
        self._note_time(now)
        if count < 0:
            raise LedgerUnavailable("Redis answered too late; nothing was taken back")
        return _rings(rings)

    def _script(self, name: str) -> Callable[..., Any]:
        folder = resources.files("jobs") / "lua"
        return self.redis.register_script((folder / "ledger.lua").read_text() + (folder / f"{name}.lua").read_text())

    def _run(self, name: str, arguments: list[Any]) -> Any:
        return self._breaker.call(lambda: self._scripts[name](keys=[self.prefix], args=arguments))

    def _redis_time(self) -> int:
        """Redis's clock in ms, never ahead of it: reckoned from the last reply that carried it."""
        if self._clock_offset is None:
            seconds, micros = self._breaker.call(self.redis.time)
            self._note_time(seconds * 1000 + micros // 1000)
        return int(time.monotonic() * 1000 + (self._clock_offset or 0))

    def _note_time(self, redis_ms: int) -> None:
        self._clock_offset = redis_ms - time.monotonic() * 1000


SCRIPTS = ("add", "claim", "finish", "take_back", "sign_off", "cancel", "renew", "reconcile")


def _as_arguments(job: Job) -> tuple[Any, ...]:
    return (job.id, job.kind.value, job.lane, job.model, job.version, job.rows, job.options, job.after, job.payload)


def _accepted(status: bytes, created_at: int, state: bytes) -> Accepted | LedgerError:
    if status == b"lane-full":
        return LaneFull("as many jobs wait as may")
    if status == b"after-failed":
        return AfterFailed("the job to wait for has failed or is gone")
    return Accepted(created_at, State(state.decode()), status == b"exists")


def _rings(flat: list[bytes]) -> Rings:
    names = [value.decode() for value in flat]
    return list(zip(names[::2], names[1::2], strict=True))


def _claimed(job_id: bytes, fence: int, rows: int, options: bytes, payload: bytes, after: bytes) -> ClaimedJob:
    return ClaimedJob(job_id.decode(), fence, rows, options, payload, after.decode())


def _record(job_id: str, values: list[bytes | None]) -> Record | None:
    if values[0] is None:
        return None
    kind, state, group, rows, attempts, created, started, finished, worker = (v.decode() if v else "" for v in values[:9])
    model, _, version = group.rpartition("/")
    return Record(
        id=job_id,
        kind=Kind(kind),
        state=State(state),
        model=model,
        version=int(version),
        rows=int(rows),
        attempts=int(attempts or 0),
        created_at=int(created),
        started_at=int(started) if started else None,
        finished_at=int(finished) if finished else None,
        worker=worker or None,
        result=values[9],
        error=values[10],
    )
