"""A small model of the ledger: what each of its scripts is to do, in plain Python. test_state_machine.py holds the real one
against it."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from jobs.errors import AfterFailed, KeyReused, LaneFull, LedgerError, PreconditionFailed
from jobs.failures import DIED, LAPSED, TIMED_OUT
from jobs.job import DEFAULT_OPTIONS, LANES, NO_METADATA, ClaimRequest, Job, Kind, State, SubmitOptions
from settings import Settings

CANCELED = b'{"type":"canceled","detail":"The job was canceled before it started."}'
STOPPED = b'{"type":"canceled","detail":"The job was canceled while it ran; its work was thrown away."}'
EXPIRED = b'{"type":"expired","detail":"The job had not started when its deadline came."}'

WHY_FAILED = {"died": DIED.to_json(), "lapsed": LAPSED.to_json(), "timed_out": TIMED_OUT.to_json()}
INNOCENT = ("released", "left")
OPEN_OVERHEAD = 1100  # bytes of an open job beside its payload, options and what else is known of it
DELIVERY_OVERHEAD = 900
RECORD_OVERHEAD = 600  # of a final one beside its body
NEWEST = 10**9  # stands for an unknown place
ENDED = ("succeeded", "failed", "canceled", "expired")


@dataclass
class Known:
    """A job, or a delivery. ``place``: None until the ledger has given a new one. ``order``: that in which it was accepted.
    ``due``: its deadline has come; ``old``: it may be forgotten."""

    id: str
    kind: str
    lane: str
    group: str
    rows: int
    size: int
    submit_options: SubmitOptions = DEFAULT_OPTIONS
    after: str = ""
    options: int = 0
    result_bytes: int = 0
    place: int | None = None
    order: int = 0
    state: str = State.QUEUED
    attempts: int = 0
    fence: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    alone: bool = False
    owner: str = ""
    canceling: bool = False
    body: bytes = b""
    deliveries: list[int] = field(default_factory=list)
    due: bool = False
    old: bool = False
    delayed_once: bool = False

    @property
    def final(self) -> bool:
        return self.state in ENDED

    @property
    def cost(self) -> int:
        """Return the bytes of an open job or delivery."""
        if self.kind == Kind.WEBHOOK:
            return DELIVERY_OVERHEAD + (self.size if self.delayed_once else 0)
        return OPEN_OVERHEAD + self.size + self.options + self._more

    @property
    def promised(self) -> int:
        """Return the bytes reserved for its result beyond that."""
        if self.kind == Kind.WEBHOOK:
            return 0
        beyond = self.result_bytes + self._more + RECORD_OVERHEAD - self.cost
        return max(0, beyond) + (DELIVERY_OVERHEAD if self.submit_options.host else 0)

    @property
    def kept(self) -> int:
        """Return the bytes of a final record."""
        return RECORD_OVERHEAD + len(self.body) + self._more + len(",".join(map(str, self.deliveries)))

    @property
    def _more(self) -> int:
        return len(msgspec.json.encode(self.submit_options.metadata)) if self.submit_options.metadata is not NO_METADATA else 0


def kind_of(name: str) -> str:
    """Return the kind of an owner or a lane."""
    return re.split("[-.]", name)[0]


class Model:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: dict[str, Known] = {}
        self.forgotten: list[str] = []
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.hands: dict[str, list[str]] = {}
        self.owners: set[str] = set()
        self.silent: set[str] = set()
        self.stopped: set[str] = set()
        self.written: dict[str, str] = {}
        self.ends: list[tuple[str, str, bytes]] = []  # each is pushed once: id, state, body
        self._order = itertools.count()

    def of(self, *states: str) -> list[Known]:
        return [known for known in self.jobs.values() if known.state in states]

    def waiting(self, lane: str) -> list[Known]:
        return [known for known in self.of("queued") if known.lane == lane]

    def held_back(self, known: Known) -> bool:
        """Return whether it waits for a job that has not ended."""
        return known.after in self.jobs and not self.jobs[known.after].final

    # Clients

    def add(self, job: Job) -> tuple[type[LedgerError] | State, str]:
        """Add a job. Returns its state, or the type of its refusal, and the id of the job it stands for."""
        if job.id in self.jobs:
            return State(self.jobs[job.id].state), job.id
        terms, before = job.submit_options, self.keys.get((job.submit_options.caller, job.submit_options.key))
        if before:
            return (State(self.jobs[before[0]].state), before[0]) if before[1] == terms.fingerprint else (KeyReused, job.id)
        refusal = self._refusal(job)
        if refusal:
            return refusal, job.id
        known = Known(job.id, job.kind, job.lane, f"{job.model}/{job.version}", job.rows, len(job.payload), terms, job.after)
        known.options, known.result_bytes = len(job.options), job.result_bytes
        known.order = next(self._order)
        self.jobs[job.id] = known
        if terms.key:
            self.keys[terms.caller, terms.key] = job.id, terms.fingerprint
        return State.QUEUED, job.id

    @property
    def memory(self) -> dict[str, int]:
        """Return the bytes of open jobs, of their reservations, and of final jobs."""
        still_open, final = self.of("queued", "running", "delayed"), self.of(*ENDED)
        promised = sum(known.promised for known in still_open)
        return {"open": sum(each.cost for each in still_open), "promised": promised, "finished": sum(each.kept for each in final)}

    @property
    def deliveries(self) -> int:
        """Return the deliveries that are still to be made."""
        return len(self.waiting("webhook")) + len(self.of("delayed"))

    def _refusal(self, job: Job) -> type[LedgerError] | None:
        limits, waiting = self.settings, self.waiting(job.lane)
        after = self.jobs.get(job.after)
        if job.expects.key and self.written.get(job.expects.field) != job.expects.value:
            return PreconditionFailed
        if job.after and (after is None or after.state in ("failed", "canceled", "expired")):
            return AfterFailed
        if job.submit_options.host and self.deliveries >= limits.lane_jobs:
            return LaneFull
        loads = (1, limits.lane_jobs), (job.rows, limits.lane_rows), (len(job.payload), limits.lane_bytes or 1 << 40)
        there = len(waiting), sum(known.rows for known in waiting), sum(known.size for known in waiting)
        return LaneFull if any(now + more > limit for now, (more, limit) in zip(there, loads, strict=True)) else None

    def cancel(self, job_id: str) -> str:
        known = self.jobs.get(job_id)
        if known is None:
            return "missing"
        if known.state == "running":
            known.canceling = True
            return "canceling"
        if known.state == "queued":
            self._end(known, "canceled", CANCELED)
        return known.state

    def position(self, known: Known) -> int | None:
        assert known.place is not None
        if known.state != "queued":
            return None
        rivals = [each for each in self.waiting(known.lane) if each.group == known.group or not self.held_back(each)]
        return 1 + sum(each.place < known.place for each in rivals if each.place is not None)

    def listed(self, caller: str, state: str, kind: str, model: str, label: str) -> list[str]:
        return [
            known.id
            for known in sorted(self.jobs.values(), key=lambda known: -known.order)
            if known.kind != Kind.WEBHOOK
            and known.submit_options.caller == caller
            and state in ("", known.state)
            and kind in ("", known.kind)
            and model in ("", known.group.partition("/")[0])
            and label in ("", known.submit_options.metadata.label)
        ]

    # Workers

    def claimable(self, request: ClaimRequest) -> list[list[str]]:
        """Return the possible claims: the next jobs of each group of the first lane that has any."""
        self.expire()
        lanes = LANES[request.kind]
        for at in range(len(lanes)):
            ready = [k for k in self.waiting(lanes[(request.first_lane + at) % len(lanes)]) if not self.held_back(k)]
            groups = {known.group for known in ready} - set(request.unloadable)
            if groups:
                return [self._next_of([known for known in ready if known.group == group]) for group in groups]
        return []

    def _next_of(self, group: Sequence[Known]) -> list[str]:
        limits = self.settings
        max_jobs = 1 if group[0].lane in LANES[Kind.TRAIN] else limits.claim_jobs
        taken, rows, size = list[str](), 0, 0
        for known in sorted(group, key=lambda known: known.place or NEWEST)[:max_jobs]:
            rows, size = rows + known.rows, size + known.size
            if taken and (known.alone or rows > limits.claim_rows or size > limits.claim_bytes):
                break
            taken.append(known.id)
            if known.alone:
                break
        return taken

    def claim(self, owner: str, ids: Sequence[str]) -> None:
        self.hands[owner] = list(ids)
        self.owners.add(owner)
        self.silent.discard(owner)
        for known in map(self.jobs.__getitem__, ids):
            known.state, known.owner = "running", owner
            known.fence += 1
            known.attempts += 1

    def is_current(self, owner: str, job_id: str, fence: int) -> bool:
        known = self.jobs.get(job_id)
        return known is not None and (known.state, known.owner, known.fence) == ("running", owner, fence)

    def finish(self, owner: str, job_id: str, state: str, body: bytes) -> bool:
        """Finish a current claim. Returns whether it ended as stated."""
        known = self.jobs[job_id]
        self.hands[owner].remove(job_id)
        stopped = known.canceling
        self._end(known, "canceled" if stopped else state, STOPPED if stopped else body)
        return not stopped

    def take_back(self, owner: str, why: str) -> None:
        held = self.hands.pop(owner, [])
        if why in ("died", "left", "lapsed"):
            self.owners.discard(owner)
            self.silent.discard(owner)
        if why == "died":
            self.stopped.discard(owner)
        for known in map(self.jobs.__getitem__, held):
            fails = self._fails(known, why) if len(held) == 1 else False
            if known.canceling:
                self._end(known, "canceled", STOPPED)
            elif fails:
                self._end(known, "failed", WHY_FAILED[why])
            else:
                self._wait_again(known, why in INNOCENT)

    def _fails(self, known: Known, why: str) -> bool:
        max_counts = {"died": self.settings.max_deaths, "lapsed": self.settings.max_lapses, "timed_out": 1}
        known.deaths[why] += 1
        return why in max_counts and known.deaths[why] >= max_counts[why]

    def _wait_again(self, known: Known, innocent: bool) -> None:
        known.state = "queued"
        if innocent:
            known.attempts -= 1
        else:
            known.alone, known.place = True, None

    def stop(self, owners: Sequence[str]) -> list[str]:
        for owner in owners:
            for known in [self.jobs[job_id] for job_id in self.hands.get(owner, []) if self.jobs[job_id].canceling]:
                self.hands[owner].remove(known.id)
                self._end(known, "canceled", STOPPED)
                self.stopped.add(owner)
        return [owner for owner in owners if owner in self.stopped]

    def deliver(self, delivery: str, attempt: int, again: bool, size: int) -> None:
        """Finish a current delivery."""
        known, job = self.jobs[delivery], self.jobs.get(delivery.removeprefix("wh-"))
        self.hands[known.owner].remove(delivery)
        if job:
            job.deliveries.append(attempt)
        if again:
            known.state, known.size, known.alone, known.delayed_once = "delayed", size, False, True
            known.deaths.clear()
        else:
            del self.jobs[delivery]

    # The reconciler

    def expire(self) -> int:
        due = [known for known in self.of("queued") if known.due and known.attempts == 0]
        for known in sorted(due, key=lambda known: known.id):
            self._end(known, "expired", EXPIRED)
        return len(due)

    def reconcile(self) -> tuple[int, int]:
        """Run one round. Returns the numbers of dead owners, and of jobs that expired or were forgotten."""
        dead = sorted(self.silent)
        for owner in dead:
            self.take_back(owner, "lapsed")
        expired = self.expire()
        for known in self.of("delayed"):
            if known.due:
                known.state, known.due = "queued", False
        return len(dead), expired + self._forget_the_old()

    def _forget_the_old(self) -> int:
        old = [known for known in self.jobs.values() if known.old]
        for known in old:
            del self.jobs[known.id]
            self.keys.pop((known.submit_options.caller, known.submit_options.key), None)
            self.forgotten.append(known.id)
        return len(old)

    def _end(self, known: Known, state: str, body: bytes) -> None:
        assert not known.final
        if known.kind == Kind.WEBHOOK:
            del self.jobs[known.id]
            return
        known.state, known.body, known.canceling = state, body, False
        self.ends.append((known.id, state, body))
        host = known.submit_options.host
        if host:
            delivery = f"wh-{known.id}"
            self.jobs[delivery] = Known(delivery, Kind.WEBHOOK, Kind.WEBHOOK, f"{host}/0", 1, len(known.id))
