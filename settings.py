"""Settings: one frozen value, read once from the environment (``MLDEPLOY_*``).

Only mldeploy/cli/environment.py reads the environment too, for the client; a test holds the project to that.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

PREFIX = "MLDEPLOY_"
RENAMED = {"bell": "wakeup_timeout", "linger": "worker_idle_timeout"}  # old name -> new name, which the error says
APP = r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$(?!\n)"

MAX_SOCKET_PATH = 100  # the kernel's limit is 107

Count = Annotated[int, Meta(ge=1, le=1024)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=604_800)]
Size = Annotated[int, Meta(ge=1, le=1 << 40)]
DerivedSize = Annotated[int, Meta(ge=0, le=1 << 40)]  # 0: derived from Redis's maxmemory
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)")]


class BadSettings(ValueError):
    """A setting has an invalid value; the message names it and says which values are valid."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. Times are seconds, sizes are bytes."""

    home: str = "~/.mldeploy"
    store: str = ""  # of models and data: a folder, or s3://bucket/prefix; empty: <home>/models
    signing_key: Annotated[str, Meta(max_length=1000)] = ""  # of what is published; empty: one in the home, made once

    url: str = "http://127.0.0.1:5000"  # where the command line finds the service
    api_key: Annotated[str, Meta(max_length=200)] = ""  # that the command line sends

    host: str = "127.0.0.1"
    app: Annotated[str, Meta(pattern=APP)] = ""  # package.module:factory; it gets and returns the Flask application
    cors_origins: Annotated[str, Meta(max_length=10_000)] = ""  # of pages that may call: separated by commas; * for all
    insecure: bool = False  # serve other machines even without keys
    port: Port = 5000
    api_workers: Count = 1
    api_waiters: Annotated[int, Meta(ge=0, le=100_000)] = 2000  # clients that may wait in one process; others get 202 at once
    api_threads: Annotated[int, Meta(ge=1, le=256)] = 8  # of one process, for work that would block its event loop
    api_connections: Annotated[int, Meta(ge=0, le=1_000_000)] = 0  # of one process; 0: 10,000, or the limit of the machine
    api_connections_per_address: Annotated[int, Meta(ge=0, le=1_000_000)] = 0  # 0: half of them
    header_timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0  # for a request's head, from the connection or its first byte
    idle_timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 75.0  # between two requests of a connection
    body_pace: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 5_000  # minimum bytes a second, of a body and of a response
    max_body: Size = 10_000_000
    max_rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_wait: Seconds = 60.0

    redis_url: str = ""  # empty: the embedded Redis of `mldeploy up`
    broker_url: str = ""  # empty: the same Redis
    appendfsync: Annotated[str, Meta(pattern="^(always|everysec)$")] = "always"
    trust_redis: bool = False  # do not check its configuration
    key_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] = "mldeploy"
    redis_timeout: Annotated[float, Meta(gt=0, le=60)] = 1.2  # one reply
    redis_connections: Count = 32

    log_bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 10_000_000  # of a process's log, before a new file begins
    log_files: Annotated[int, Meta(ge=0, le=100)] = 3  # older log files that are kept

    predict_workers: Count = 2
    train_workers: Count = 1
    webhook_workers: Count = 1
    webhook_networks: Annotated[str, Meta(max_length=10_000)] = ""  # private ones that get webhooks: 10.0.0.0/8, 127.0.0.1
    lease: Annotated[float, Meta(ge=1, le=3600)] = 15.0  # an owner that has not renewed its lease for this long has died
    wakeup_timeout: Annotated[float, Meta(ge=0.1, le=60)] = 2.0  # a wakeup that no worker has answered by then is lost
    time_slice: Annotated[float, Meta(ge=0.1, le=600)] = 5.0  # of one serve task
    worker_idle_timeout: Annotated[float, Meta(ge=0, le=86_400)] = 60.0  # how long a worker listens after its last job
    predict_limit: Seconds = 30.0  # per claim
    train_limit: Seconds = 3600.0
    limit_margin: Seconds = 5.0  # between the soft and the hard limit
    stall: Annotated[float, Meta(ge=1, le=3600)] = 20.0  # jobs have waited this long without a listening worker: restart
    drain: Annotated[float, Meta(ge=0, le=3600)] = 6.0  # jobs that take longer are returned to their lane
    max_deaths: Annotated[int, Meta(ge=1, le=100)] = 3  # of the workers of a job that was claimed alone
    max_lapses: Annotated[int, Meta(ge=1, le=1000)] = 10  # of their leases: more often the network's fault
    claim_jobs: Annotated[int, Meta(ge=1, le=10_000)] = 128
    claim_rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    claim_bytes: Size = 16_000_000

    lane_jobs: Size = 200_000
    lane_rows: Size = 20_000_000
    lane_bytes: DerivedSize = 0
    keep: Seconds = 86_400.0  # finished jobs, by time …
    keep_bytes: DerivedSize = 0  # … and by size
    memory_share: Annotated[float, Meta(ge=0.1, le=0.75)] = 0.75  # of Redis's maxmemory; the rest is for data in flight
    redis_data: Annotated[str, Meta(max_length=4096)] = ""  # Redis's folder as the reconciler sees it; empty: the embedded one's
    disk_reserve: Size = 200_000_000  # of Redis's disk, beyond the size of a rewrite; below it no jobs are accepted
    maxmemory: Annotated[int, Meta(ge=32_000_000, le=1 << 40)] = 2_000_000_000  # of the embedded Redis, or of one without a limit

    estimators: Annotated[str, Meta(max_length=10_000)] = ""  # further classes that may be trained: lightgbm.LGBMClassifier, …
    keep_versions: Annotated[int, Meta(ge=1, le=10_000)] = 10  # of each model, beside those that an alias or an open job names
    swap_patience: Annotated[float, Meta(ge=0, le=600)] = 10.0  # for workers to load a version before it serves
    loaded_bytes: Size = 1_000_000_000  # of models that one worker process keeps loaded
    max_models: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    default_model: Name = "iris"

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser().absolute()

    @property
    def embedded_socket(self) -> Path:
        """The socket of the Redis that `mldeploy up` runs: in the home folder or, if its path is too long for a Unix socket, in a
        private folder of the system's temporary folder."""
        path = self.home_path / "redis.sock"
        if len(str(path)) <= MAX_SOCKET_PATH:
            return path
        name = hashlib.sha256(str(self.home_path).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"mldeploy-{name}" / "redis.sock"

    @property
    def store_location(self) -> str:
        """A folder, or the URL of an object store."""
        if "://" in self.store:
            return self.store
        return str(Path(self.store).expanduser().absolute() if self.store else self.home_path / "models")

    @property
    def broker(self) -> str:
        """The broker's URL in Celery's spelling; the ledger's Redis unless another is set."""
        if self.broker_url or not self.redis_url.startswith("unix://"):
            return self.broker_url or self.redis_url
        return "redis+socket://" + self.redis_url.removeprefix("unix://")

    def with_embedded_redis(self) -> "Settings":
        """These settings with the URL of the embedded Redis, unless another is set."""
        return self if self.redis_url else self.replace(redis_url=f"unix://{self.embedded_socket}")

    def replace(self, **changes: Any) -> "Settings":
        """A validated copy with these changes. Raises BadSettings."""
        return _checked({**msgspec.structs.asdict(self), **changes})

    def environment(self) -> dict[str, str]:
        """The environment for a child process, with exactly these settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        ours = {PREFIX + key.upper(): str(value) for key, value in msgspec.structs.asdict(self).items()}
        return kept | ours


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read ``MLDEPLOY_*``. Raises BadSettings for an unknown name or a value out of bounds."""
    source = os.environ if environ is None else environ
    values = {key[len(PREFIX) :].lower(): value for key, value in source.items() if key.startswith(PREFIX)}
    old = next((name for name in RENAMED if name in values), None)
    if old:
        raise BadSettings(f"{PREFIX}{old.upper()} is {PREFIX}{RENAMED[old].upper()} now")
    unknown = sorted(set(values) - set(Settings.__struct_fields__))
    if unknown:
        close = get_close_matches(unknown[0], Settings.__struct_fields__, n=1)
        hint = (
            f": did you mean {PREFIX}{close[0].upper()}?"
            if close
            else "; `mldeploy up --help` and docs/operations.md list the settings"
        )
        raise BadSettings(f"unknown setting {PREFIX}{unknown[0].upper()}{hint}")
    return _checked(values)


def _checked(values: dict[str, Any]) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        name = PREFIX + where.rstrip("`").upper() if where else "settings"
        raise BadSettings(f"{name}: {problem}") from None
