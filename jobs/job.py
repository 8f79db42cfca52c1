"""A job: what a client submits, and the record that the ledger keeps of it."""

from enum import StrEnum

from msgspec import Struct

SMALL = 100  # rows; larger predictions wait in another lane
LANES = {  # by kind of worker
    "predict": ("predict.small", "predict.large"),
    "train": ("train.data", "train"),
    "webhook": ("webhook",),
}


class Kind(StrEnum):
    PREDICT = "predict"
    TRAIN = "train"
    DATASET = "dataset"  # adds rows to a data set; handled by train workers, before trainings
    WEBHOOK = "webhook"  # delivers the webhook of another job; never submitted


WORKERS = (Kind.PREDICT, Kind.TRAIN, Kind.WEBHOOK)


class State(StrEnum):
    QUEUED = "queued"  # waits in its lane
    RUNNING = "running"  # claimed by a worker, under a lease
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in ("queued", "running")  # strings: looking up the enumeration's members takes ten times as long


class Precondition(Struct, frozen=True):
    """``field`` of the hash ``key`` must be ``value`` at the moment a job is accepted."""

    key: str
    field: str
    value: str


NO_PRECONDITION = Precondition("", "", "")


class Metadata(Struct, frozen=True, omit_defaults=True):
    """Data that a record carries only for its readers."""

    label: str = ""
    webhook: str = ""  # URL
    trace: str = ""  # W3C traceparent


NO_METADATA = Metadata()


class SubmitOptions(Struct, frozen=True):
    """``caller``: the id of the API key of the request; empty without keys. ``expires_in``: seconds within which the job must
    start; 0 for no deadline. ``key``: the hash of the Idempotency-Key, ``fingerprint``: the hash of its request. ``host``: the
    webhook's."""

    caller: str = ""
    expires_in: float = 0.0
    key: str = ""
    fingerprint: str = ""
    host: str = ""
    metadata: Metadata = NO_METADATA


DEFAULT_OPTIONS = SubmitOptions()


class Job(Struct, frozen=True):
    """A job as it is submitted. The ledger does not read ``payload`` and ``options``. ``result_bytes``: the maximum size of the
    result and of everything else that is stored at the job's end. For a data set's job, ``model`` is the data set's name and
    ``version`` is 0."""

    id: str
    kind: Kind
    model: str
    version: int
    rows: int
    payload: bytes
    options: bytes = b"{}"
    after: str = ""  # the id of a job that must end first
    expects: Precondition = NO_PRECONDITION
    submit_options: SubmitOptions = DEFAULT_OPTIONS
    result_bytes: int = 0

    @property
    def lane(self) -> str:
        if self.kind is Kind.TRAIN:
            return "train"
        if self.kind is Kind.DATASET:
            return "train.data"
        return "predict.small" if self.rows <= SMALL else "predict.large"


class Record(Struct, frozen=True):
    """What the ledger stores about a job. Times are milliseconds since 1970 on the ledger's clock."""

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
    metadata: Metadata = NO_METADATA
    expires_at: int | None = None
    canceling: bool = False  # it is being stopped, and will certainly be canceled
    deliveries: bytes = b"[]"  # JSON: the attempts to deliver its webhook
    position: int | None = None  # in its lane, from 1, while it is queued
    retry_after: int = 1  # seconds after which it is likely to be done


class ClaimRequest(Struct, frozen=True):
    """An owner's request for the next jobs of a kind. ``unloadable``: groups that it cannot load. ``idle_seconds``: how long it
    waits for a wakeup if there are no jobs. ``expected_seconds``: how long its claims usually take. ``first_lane``: the index of
    the lane to search first."""

    kind: str
    unloadable: tuple[str, ...] = ()
    idle_seconds: float = 0.0
    expected_seconds: float = 1.0
    first_lane: int = 0


class ClaimedJob(Struct, frozen=True):
    """A job that a worker has claimed; ``fence`` proves that the worker still holds it."""

    id: str
    fence: int
    rows: int
    options: bytes
    payload: bytes
    after: str
    metadata: Metadata = NO_METADATA


class Claim(Struct, frozen=True):
    """Jobs of one model version."""

    model: str
    version: int
    jobs: tuple[ClaimedJob, ...]

    @property
    def group(self) -> str:
        return f"{self.model}/{self.version}"


class ClaimLater(Struct, frozen=True):
    """Only a backlog is waiting, and other groups have precedence over it: claim again after ``seconds``."""

    seconds: float


class Outcome(Struct, frozen=True):
    """How one claimed job ended. ``body`` is JSON: the result, or the error."""

    job: ClaimedJob
    state: State
    body: bytes
