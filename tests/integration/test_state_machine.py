"""B2 of the faults to survive: sequences of everything that can be asked of the ledger, held against a small model of it after
each step."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.job import NOTHING, Claim, ClaimRequest, Job, Kind, Metadata, Precondition, State, SubmitOptions
from jobs.ledger import Ledger
from settings import Settings
from tests.integration.ledger_model import ENDED, kind_of
from tests.integration.ledger_pair import TAKEN_BACK, Pair, Pushes
from tests.integration.ledger_view import Watched, watched
from tests.processes import Pieces

TRAINERS = ("train-1", "train-2")
OWNERS = ("predict-1", "predict-2", *TRAINERS, "webhook-1")
LIMITS = {"max_deaths": 2, "max_lapses": 2, "claim_jobs": 8, "claim_rows": 3, "lane_jobs": 5, "lane_rows": 400}
UNHURRIED = {"lease": 3600.0, "redis_timeout": 60.0, "appendfsync": "everysec"}
LARGE = 5000  # bytes of a result that is not pushed

KEYS = (("", ""), ("k1", "f1"), ("k1", "f2"), ("k2", "f1"))  # Idempotency-Key, and fingerprint of the request
TERMS = [
    SubmitOptions(caller, expires_in, key, fingerprint, host, Metadata(label, f"https://{host}/jobs" if host else ""))
    for host, expires_in, caller, (key, fingerprint), label in product(
        ("", "told.example"), (0.0, 3600.0), ("", "anna"), KEYS, ("", "red")
    )
]
FILTERS = (  # state, kind, model, label
    *(("", "", "", ""), ("queued", "", "", ""), ("succeeded", "predict", "", "")),
    *(("canceled", "", "", "red"), ("", "", "a", ""), ("", "predict", "trained", "")),
)
BOTH = (False, True)


@dataclass
class Asked:
    """What is submitted. ``after``: which of the trainings there have been, if there were so many. ``champion``: whether it
    rests on what is so (1), is not so (0), or on nothing."""

    kind: Kind
    rows: int
    terms: SubmitOptions
    after: int
    champion: int


ASKED = [
    Asked(*each)
    for each in product((Kind.PREDICT, Kind.PREDICT, Kind.TRAIN, Kind.DATASET), (1, 1, 2, 150), TERMS, range(5), range(6))
]


def asked_of(number: int) -> Asked:
    return ASKED[number]


MANY = st.lists(st.integers(0, len(ASKED) - 1).map(asked_of), min_size=1, max_size=3)
NUMBER = st.integers(0, 999)
WAYS = {  # in which each can be done
    "look": product(("", "anna", "bert"), range(1, 4), range(2, 6), FILTERS),
    "cancel": product(("running", "queued", ""), BOTH),
    "claim": product(BOTH, range(2), (True, False, False, False)),
    "finish": product(BOTH, range(3), BOTH, (None, True, False), (0, 0, 0, LARGE)),
    "deliver": product(BOTH, BOTH),
    "take_back": product((*TAKEN_BACK, "lapsed", "renewed")),
    "time_passes": product(BOTH, BOTH, BOTH, BOTH),
}
DEEDS: dict[str, Any] = {name: st.tuples(st.just(name), NUMBER, st.sampled_from(list(ways))) for name, ways in WAYS.items()}
DEEDS["submit"] = st.tuples(st.just("submit"), NUMBER, st.tuples(MANY))
OFTEN = ("claim", "claim", "finish", "take_back")
DEED = st.one_of(*(DEEDS[name] for name in (*DEEDS, *OFTEN)))


@dataclass
class Tally:
    sequences: int = 0
    steps: int = 0


class Sequence(RuleBasedStateMachine):
    def __init__(self, ledger: Ledger, client: Watched, pushes: Pushes, tally: Tally) -> None:
        super().__init__()
        tally.sequences += 1
        ledger.prefix = f"sequence{tally.sequences}:2:"
        self.ledger, self.client, self.pushes, self.tally = ledger, client, pushes, tally
        self.both = Pair(ledger, client)
        self.model = self.both.model
        self.submitted: list[Job] = []
        self.trainings: list[Job] = []
        self.count = 0

    @initialize(many=MANY)
    def begin(self, many: list[Asked]) -> None:
        self._submit([self._job(asked) for asked in many])

    @rule(deed=DEED)
    def step(self, deed: tuple[str, int, tuple[Any, ...]]) -> None:
        """One rule for all, for hypothesis would switch most rules off in most sequences, and these go together."""
        name, number, way = deed
        getattr(self, name)(number, *way)

    def submit(self, number: int, many: list[Asked]) -> None:
        """Also one that may be there already."""
        known = self.submitted[number % len(self.submitted)]
        self._submit([self._job(asked) for asked in many] + ([known] if known.id in self.model.jobs else []))

    def look(self, number: int, caller: str, most: int, look_at: int, filters: tuple[str, ...]) -> None:
        self.both.poll([self.submitted[(number + more) % len(self.submitted)].id for more in range(most)])
        self.both.show(caller, most, look_at, filters)

    def cancel(self, number: int, state: str, stops: bool) -> None:
        """``state``: one of those, if there are any. ``stops``: the processes that train are looked after meanwhile."""
        those = [known.id for known in self.model.of(state) if known.kind != Kind.WEBHOOK] or [job.id for job in self.submitted]
        self.both.cancel(those[number % len(those)])
        if stops:
            self.both.stop(TRAINERS)

    def claim(self, number: int, again: bool, first_lane: int, refuses: bool) -> None:
        self.count += not again
        kinds = {kind_of(known.lane) for known in self.model.of("queued")}
        owners = [owner for owner in OWNERS if kind_of(owner) in kinds or self.model.hands.get(owner)] or OWNERS
        owner, unloadable = owners[number % len(owners)], ("a/1",) if refuses else ()
        self.both.claim(owner, f"token{self.count}", ClaimRequest(kind_of(owner), unloadable, first_lane=first_lane))

    def finish(self, number: int, stale: bool, part: int, fails: bool, fits: bool | None, size: int) -> None:
        """``part``: how many jobs of the claim are left out."""
        claims = self._claims(Kind.PREDICT, Kind.TRAIN, stale=stale)
        if claims:
            owner, claim = claims[number % len(claims)]
            self.both.finish(owner, claim.jobs[part:] or claim.jobs, State.FAILED if fails else State.SUCCEEDED, size, fits)

    def deliver(self, number: int, stale: bool, again: bool) -> None:
        claims = self._claims(Kind.WEBHOOK, stale=stale)
        if claims:
            owner, claim = claims[number % len(claims)]
            self.both.deliver(owner, claim.jobs[0], again)

    def take_back(self, number: int, why: str) -> None:
        owners = [owner for owner, held in self.model.hands.items() if held]
        if owners and why in TAKEN_BACK:
            self.both.take_back(owners[number % len(owners)], why)
        elif owners:
            self.both.leases_run_out([owners[number % len(owners)]])
            if why == "renewed":
                self.both.renew(owners[number % len(owners)])
            self.both.reconcile()

    def time_passes(self, number: int, deadline: bool, delays: bool, old: bool, reconciles: bool) -> None:
        dated = [known for known in self.model.of("queued", "running") if known.terms.expires_in and not known.due]
        final = self.model.of(*ENDED)
        if deadline and dated:
            self.both.deadline_comes(dated[number % len(dated)])
        if delays:
            self.both.delays_are_over()
        if old and final:
            self.both.grow_old([final[number % len(final)]])
        if reconciles:
            self.both.reconcile()

    # What holds after each step, and at the end

    @invariant()
    def they_agree(self) -> None:
        self.tally.steps += 1
        self.both.agree()

    def teardown(self) -> None:
        try:
            self.both.end(self.pushes)
        finally:
            self.client.flushdb()
            self.client.seen = b""

    # What there is to ask about

    def _claims(self, *kinds: str, stale: bool = False) -> list[tuple[str, Claim]]:
        """Those of jobs that run, in these hands or (``stale``) not any more; if there are none, all."""
        claims = [(owner, claim) for owner, claim in self.both.claims if kind_of(owner) in kinds]
        running = [(owner, claim) for owner, claim in claims if self._runs(claim.jobs[0].id)]
        wanted = [each for each in running if self.model.is_current(each[0], each[1].jobs[0].id, each[1].jobs[0].fence) != stale]
        return wanted or claims

    def _runs(self, job_id: str) -> bool:
        return job_id in self.model.jobs and self.model.jobs[job_id].state == "running"

    def _submit(self, jobs: list[Job]) -> None:
        new = self.both.add(jobs)
        self.submitted += new
        self.trainings += [job for job in new if job.kind is Kind.TRAIN]

    def _job(self, asked: Asked) -> Job:
        """Of the version that a training is to make, if it comes after one."""
        self.count += 1
        model, version, rows, after = "ab"[asked.rows % 2], 1, asked.rows, ""
        if asked.kind is not Kind.PREDICT:
            model, version, rows = "trained", self.count, 0
        elif asked.after < len(self.trainings):
            training = self.trainings[-1 - asked.after]
            model, version, after = training.model, training.version, training.id
        now = self.model.effects.get("alias", "")
        expects = Precondition("model:m", "alias", now if asked.champion else "other") if now and asked.champion < 2 else NOTHING
        job_id = self.ledger.new_id(asked.terms.caller)
        return Job(job_id, asked.kind, model, version, rows, b"payload", b"{}", after, expects, asked.terms, 1000 * asked.rows)


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """In which nobody else has a key."""
    pieces = Pieces(Settings().replace(**LIMITS, **UNHURRIED), tmp_path_factory.mktemp("machine"))
    try:
        pieces.redis()
        yield pieces.settings
    finally:
        pieces.stop()


@pytest.mark.slow
def test_b2_the_ledger_is_what_its_model_says(own_redis: Settings, chaos: bool, tell: list[str]) -> None:
    ledger, client = watched(own_redis)
    pushes, tally, many = Pushes(client), Tally(), 20_000 if chaos else 2000
    assert ledger.secret  # known from now on, and no key of a sequence's
    client.flushdb()
    settings = hypothesis.settings(
        max_examples=many,
        stateful_step_count=24 if chaos else 14,
        derandomize=not chaos,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(lambda: Sequence(ledger, client, pushes, tally), settings=settings)  # type: ignore[arg-type]
    finally:
        pushes.close()
    assert tally.sequences >= many
    tell.append(f"B2: {tally.sequences} sequences, {tally.steps} steps, no divergence")
