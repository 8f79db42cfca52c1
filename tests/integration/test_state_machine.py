"""Random sequences of all ledger calls are compared with a small model of the ledger after each step."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.job import NO_PRECONDITION, Claim, ClaimRequest, Job, Kind, Metadata, Precondition, State, SubmitOptions
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
class Submission:
    """What is submitted. ``after``: the number of the training it waits for, if there are so many. ``champion``: whether its
    precondition holds (1), fails (0), or is absent."""

    kind: Kind
    rows: int
    submit_options: SubmitOptions
    after: int
    champion: int


SUBMISSIONS = [
    Submission(*each)
    for each in product((Kind.PREDICT, Kind.PREDICT, Kind.TRAIN, Kind.DATASET), (1, 1, 2, 150), TERMS, range(5), range(6))
]


def submission_of(number: int) -> Submission:
    return SUBMISSIONS[number]


MANY = st.lists(st.integers(0, len(SUBMISSIONS) - 1).map(submission_of), min_size=1, max_size=3)
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
    def begin(self, many: list[Submission]) -> None:
        self._submit([self._job(submission) for submission in many])

    @rule(deed=DEED)
    def step(self, deed: tuple[str, int, tuple[Any, ...]]) -> None:
        """Use one rule for all: hypothesis would switch most rules off in most sequences, and these belong together."""
        name, number, way = deed
        getattr(self, name)(number, *way)

    def submit(self, number: int, many: list[Submission]) -> None:
        """Submit new jobs, and perhaps a known one again."""
        known = self.submitted[number % len(self.submitted)]
        self._submit([self._job(submission) for submission in many] + ([known] if known.id in self.model.jobs else []))

    def look(self, number: int, caller: str, limit: int, look_at: int, filters: tuple[str, ...]) -> None:
        self.both.poll([self.submitted[(number + more) % len(self.submitted)].id for more in range(limit)])
        self.both.show(caller, limit, look_at, filters)

    def cancel(self, number: int, state: str, stops: bool) -> None:
        """``state``: cancel a job in this state, if there is any. ``stops``: the training processes are checked meanwhile."""
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
        dated = [known for known in self.model.of("queued", "running") if known.submit_options.expires_in and not known.due]
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

    # Choosing jobs and claims

    def _claims(self, *kinds: str, stale: bool = False) -> list[tuple[str, Claim]]:
        """Return the claims of running jobs that are current, or ``stale``; all of them if there are none."""
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

    def _job(self, submission: Submission) -> Job:
        """Make a job, of the version that a training is to make if it waits for one."""
        self.count += 1
        model, version, rows, after = "ab"[submission.rows % 2], 1, submission.rows, ""
        if submission.kind is not Kind.PREDICT:
            model, version, rows = "trained", self.count, 0
        elif submission.after < len(self.trainings):
            training = self.trainings[-1 - submission.after]
            model, version, after = training.model, training.version, training.id
        now = self.model.written.get("alias", "")
        expects = (
            Precondition("model:m", "alias", now if submission.champion else "other")
            if now and submission.champion < 2
            else NO_PRECONDITION
        )
        job_id = self.ledger.new_id(submission.submit_options.caller)
        return Job(
            job_id,
            submission.kind,
            model,
            version,
            rows,
            b"payload",
            b"{}",
            after,
            expects,
            submission.submit_options,
            1000 * submission.rows,
        )


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Start a Redis without other keys."""
    pieces = Pieces(Settings().replace(**LIMITS, **UNHURRIED), tmp_path_factory.mktemp("machine"))
    try:
        pieces.redis()
        yield pieces.settings
    finally:
        pieces.stop()


@pytest.mark.slow
def test_ledger_agrees_with_its_model(own_redis: Settings, chaos: bool, figures: list[str]) -> None:
    ledger, client = watched(own_redis)
    pushes, tally, many = Pushes(client), Tally(), 20_000 if chaos else 2000
    assert ledger.secret  # the secret exists from now on and is no key of a sequence
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
    figures.append(f"ledger and model: {tally.sequences} sequences, {tally.steps} steps, no divergence")
