"""A job: what is asked for, and the record of what became of it."""

from enum import StrEnum

from msgspec import Struct

SMALL = 100  # rows; a larger prediction waits in a lane of its own
LANES = {  # by the kind of worker
    "predict": ("predict.small", "predict.large"),
    "train": ("train.data", "train"),
    "webhook": ("webhook",),
}


class Kind(StrEnum):
    PREDICT = "predict"
    TRAIN = "train"
    DATASET = "dataset"  # rows for a data set; done by those who train, before the trainings
    WEBHOOK = "webhook"  # telling the end of another job; never submitted


WORKERS = (Kind.PREDICT, Kind.TRAIN, Kind.WEBHOOK)


class State(StrEnum):
    QUEUED = "queued"  # waits in its lane
    RUNNING = "running"  # in the hands of a worker, under a lease
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in ("queued", "running")  # strings, which an enumeration's members take ten times as long to look up


class Precondition(Struct, frozen=True):
    """``field`` of the hash ``key`` must be ``value`` at the moment a job is accepted."""

    key: str
    field: str
    value: str


NOTHING = Precondition("", "", "")


class Metadata(Struct, frozen=True, omit_defaults=True):
    """What a record carries for those who ask, and nobody decides by."""

    label: str = ""
    webhook: str = ""  # URL
    trace: str = ""  # W3C traceparent


NO_MORE = Metadata()


class SubmitOptions(Struct, frozen=True):
    """On which a job is accepted. ``caller``: the id of the API key that it came with; empty without keys. ``expires_in``:
    seconds within which it must start; 0 for no deadline. ``key``: the hash of an Idempotency-Key, ``fingerprint`` that of its
    request. ``host`` is the webhook's."""

    caller: str = ""
    expires_in: float = 0.0
    key: str = ""
    fingerprint: str = ""
    host: str = ""
    more: Metadata = NO_MORE


NO_TERMS = SubmitOptions()


class Job(Struct, frozen=True):
    """A job as it is submitted. ``payload`` and ``options`` mean nothing to the ledger. ``result_bytes``: the most
    that its result may take, with what else its end changes. Of a data set's job ``model`` is the data set's name and ``version``
    0."""

    id: str
    kind: Kind
    model: str
    version: int
    rows: int
    payload: bytes
    options: bytes = b"{}"
    after: str = ""  # the id of a job that must end first
    expects: Precondition = NOTHING
    terms: SubmitOptions = NO_TERMS
    result_bytes: int = 0

    @property
    def lane(self) -> str:
        if self.kind is Kind.TRAIN:
            return "train"
        if self.kind is Kind.DATASET:
            return "train.data"
        return "predict.small" if self.rows <= SMALL else "predict.large"


class Record(Struct, frozen=True):
    """What the ledger knows of a job. Times are milliseconds since 1970 on Redis's clock."""

    id: str
    kind: Kind
    state: State
    model: str
    version: int
    rows: int
    attempts: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    worker: str | None
    result: bytes | None  # JSON
    error: bytes | None  # JSON: type, detail
    progress: bytes | None = None  # JSON: done, total, stage; while it runs
    caller: str = ""
    more: Metadata = NO_MORE
    expires_at: int | None = None
    canceling: bool = False  # it is being stopped, and will be canceled whatever comes
    deliveries: bytes = b"[]"  # JSON: the attempts to tell its webhook
    position: int | None = None  # in its lane, from 1, while it is queued
    retry_after: int = 1  # seconds after which it is likely to be done


class ClaimRequest(Struct, frozen=True):
    """What an owner asks for: the next jobs of a kind, but not of groups it cannot load. If there are none it lingers for
    so many seconds. ``usual`` is how many seconds its claims take, ``first_lane`` the number of the lane to look at first."""

    kind: str
    unloadable: tuple[str, ...] = ()
    linger: float = 0.0
    usual: float = 1.0
    first_lane: int = 0


class ClaimedJob(Struct, frozen=True):
    """A job in a worker's hands; ``fence`` proves that it still is."""

    id: str
    fence: int
    rows: int
    options: bytes
    payload: bytes
    after: str
    more: Metadata = NO_MORE


class Claim(Struct, frozen=True):
    """Jobs of one model version."""

    model: str
    version: int
    jobs: tuple[ClaimedJob, ...]

    @property
    def group(self) -> str:
        return f"{self.model}/{self.version}"


class ClaimLater(Struct, frozen=True):
    """There is only a backlog, which is to wait while others are served: ask again after so many seconds."""

    seconds: float


class Outcome(Struct, frozen=True):
    """How one claimed job ended. ``body`` is JSON: the result, or the error."""

    job: ClaimedJob
    state: State
    body: bytes


class Effect(Struct, frozen=True):
    """Set ``field`` of the hash ``key`` to ``value`` in the step that ends a job, if it still is ``expected``. ``stamped``: the
    first ``"@now"`` in the value becomes Redis's time in milliseconds."""

    key: str
    field: str
    expected: str
    value: str
    stamped: bool = False
