"""`mldeploy up`: the whole service on one machine."""

import errno
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from auth.keys import Keys
from auth.loopback import is_loopback
from jobs.errors import LedgerUnavailable, UnsafeRedis
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.redis_connection import UNREACHABLE, check_server, connect
from jobs.shutdown import ShutdownSignal
from mldeploy.client import Client, Problem
from mldeploy.local import redis_server
from mldeploy.local.home import make_home
from mldeploy.local.log_file import LogFile
from mldeploy.local.supervised_process import Child
from settings import Settings
from webhooks.networks import parse_networks

POLL_INTERVAL = 0.1  # seconds
REDIS_START_TIMEOUT = 600.0  # seconds; it may have a large file to read
START_TIMEOUT = 60.0  # seconds until all processes are ready
SETTLE_TIMEOUT = 2.0  # seconds until values that are refreshed once a second are up to date
STOP_TIMEOUT = 8.5  # seconds for API, workers and reconciler; Redis is stopped after them
REDIS_STOP_TIMEOUT = 1.0
MAX_FAILURES = 3  # of one process before the service is ready
MAX_RECONCILER_AGE = 5.0  # seconds since its last run; then the reconciler counts as ready


class CannotStart(RuntimeError):
    """The service cannot start; the message says why and what to do."""


class Up:
    def __init__(self, settings: Settings, say: Callable[[str], None] = print) -> None:
        self._embedded = not settings.redis_url
        self._settings = settings.with_embedded_redis()
        self._say = say
        self._stop = ShutdownSignal()
        self._redis: Child | None = None
        self._others: list[Child] = []

    @property
    def url(self) -> str:
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
        host = anywhere.get(self._settings.host, self._settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"

    def run(self) -> None:
        """Runs the service until SIGINT, SIGTERM or, unless nohup ignores it, SIGHUP. To be called in the main thread. Raises
        CannotStart."""
        os.umask(0o077)  # inherited by all child processes: other users cannot read their files
        self._make_home()
        self._stop.on(signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._stop.on(signal.SIGHUP)
        with _only_one(self._settings.home_path):
            _check_port(self._settings.host, self._settings.port)
            _check_networks(self._settings.webhook_networks)
            try:
                self._start()
                self._watch()
            finally:
                self._end()

    def _make_home(self) -> None:
        """Raises CannotStart."""
        try:
            for line in make_home(self._settings.home_path, self._settings.store_location):
                self._say(line)
        except OSError as error:
            raise CannotStart(f"there can be no home at {self._settings.home_path} ({error}): give another --home") from None

    def _start(self) -> None:
        since = time.monotonic()
        if self._embedded:
            server, options, environment = redis_server.command(self._settings)
            self._redis = self._child("redis", [str(server), *options], environment, expendable=False)
        self._wait_until(self._redis_answers, since + REDIS_START_TIMEOUT, "Redis")
        python = [sys.executable, "-P", "-m"]  # -P: the current folder is not on the module path
        self._check_is_safe()
        self._others = [
            self._child("reconciler", [*python, "jobs.reconciler"]),
            self._child("predict", [*python, "worker", Kind.PREDICT]),
            self._child("train", [*python, "worker", Kind.TRAIN]),
            self._child("webhook", [*python, "worker.webhooks"]),
            self._child("api", [*python, "api"]),
        ]
        self._wait_until(self._all_ready, time.monotonic() + START_TIMEOUT, "the service")
        if not self._stop.is_set():
            self._say_ready(time.monotonic() - since)

    def _check_is_safe(self) -> None:
        """Raises CannotStart if other machines would be served without keys and without --insecure."""
        s, ledger = self._settings, Ledger(self._settings)
        if s.insecure or is_loopback(s.host) or self._stop.is_set():
            return
        try:
            closed = Keys(ledger.redis, ledger.prefix, ledger.guard).key_set().closed
        except LedgerUnavailable as error:
            raise CannotStart(f"Redis went away while the service started: {error}") from error
        if not closed:
            raise CannotStart(
                f"without keys this is served to this machine alone, not on {s.host}: start it on 127.0.0.1, make a key with "
                "`mldeploy keys create --name me --scopes admin`, and start again; or give --insecure, and everybody who "
                "reaches it may do everything"
            )

    def _say_ready(self, seconds: float) -> None:
        """Reports that the service runs, with its remaining problems: the user needs the running service to fix them."""
        found, deadline = self._readiness(), time.monotonic() + SETTLE_TIMEOUT
        while found["reasons"] and time.monotonic() < deadline and not self._stop.wait(POLL_INTERVAL):
            found = self._readiness()
        for reason in found["reasons"]:
            self._say(f"{reason['severity']}: {reason['detail']}; {reason['action']}")
        if found["status"] != "not-ready":
            self._say(self._ready_line(seconds))
        else:
            self._say(f"mldeploy is up at {self.url} and not ready: `mldeploy status` says when it is ({seconds:.1f} s)")

    def _readiness(self) -> dict[str, Any]:
        try:
            return Client(self.url, timeout=2).ready()
        except (Problem, OSError) as error:
            status, logs = "not-ready", self._settings.home_path / "logs"
            reason = {"severity": status, "detail": f"the API does not answer: {error}", "action": f"see {logs}"}
            return {"status": status, "reasons": [reason]}

    def _ready_line(self, seconds: float) -> str:
        s = self._settings
        workers = f"{s.predict_workers} predict and {s.train_workers} train worker processes"
        where = f"home {s.home_path}" if self._embedded else "Redis of yours"
        return f"mldeploy is ready at {self.url} ({workers}, {where}, {seconds:.1f} s)"

    def _watch(self) -> None:
        while not self._stop.wait(POLL_INTERVAL):
            self._supervise()

    def _end(self) -> None:
        """Stops API, workers and reconciler in parallel, and then Redis, which the workers need to return their jobs."""
        deadline = time.monotonic() + STOP_TIMEOUT
        if self._others:
            self._say("stopping: work in hand is finished, or returned after a few seconds")
        for child in self._others:
            child.terminate()
        for child in self._others:
            if not child.wait(deadline):
                self._say(f"{child.name} did not stop in time and was killed")
        if self._redis:
            self._redis.terminate()
            self._redis.wait(time.monotonic() + REDIS_STOP_TIMEOUT)

    def _supervise(self) -> None:
        for child in self._children():
            child.supervise()

    def _children(self) -> list[Child]:
        return [*([self._redis] if self._redis else []), *self._others]

    def _wait_until(self, ready: Callable[[], bool], deadline: float, what: str) -> None:
        """Raises CannotStart, with the last lines of a process that does not start."""
        self._supervise()
        while not ready() and not self._stop.wait(POLL_INTERVAL):
            self._supervise()
            for child in self._children():
                if child.failures >= MAX_FAILURES:
                    raise CannotStart(f"{child.name} does not start; its last words ({child.log.path}):\n{child.last_lines()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{what} was not ready in time; see {self._settings.home_path / 'logs'}")

    def _redis_answers(self) -> bool:
        client = connect(self._settings)
        try:
            check_server(client, self._settings)
            return True
        except UnsafeRedis as error:
            raise CannotStart(str(error)) from error
        except redis.AuthenticationError as error:
            raise CannotStart(f"Redis refuses us: {error}; put the password into MLDEPLOY_REDIS_URL") from error
        except UNREACHABLE as error:
            if not self._embedded:
                raise CannotStart(f"the Redis at MLDEPLOY_REDIS_URL does not answer: {error}") from error
            return False
        finally:
            client.close()

    def _all_ready(self) -> bool:
        """The API is checked last: it caches its readiness for a second, which should include the workers."""
        try:
            ledger = Ledger(self._settings)
            since = ledger.since_reconciled()
            s = self._settings
            expected = {Kind.PREDICT: s.predict_workers, Kind.TRAIN: s.train_workers, Kind.WEBHOOK: s.webhook_workers}
            if (
                since is None
                or since >= MAX_RECONCILER_AGE
                or any(self._own_workers(ledger, kind) < count for kind, count in expected.items())
            ):
                return False
            Client(self.url, timeout=2).ready()  # it responds; the status does not matter
            return True
        except (Problem, LedgerUnavailable, OSError):
            return False

    def _own_workers(self, ledger: Ledger, kind: Kind) -> int:
        """The number of live worker processes that we started: the owner contains the parent's pid."""
        pid = next(child.pid for child in self._others if child.name == kind)
        return sum(owner.startswith(f"{socket.gethostname()}-{pid}-") for owner in ledger.live_owners(kind))

    def _child(
        self, name: str, command: list[str], environment: Mapping[str, str] | None = None, *, expendable: bool = True
    ) -> Child:
        s = self._settings
        log = LogFile(s.home_path / "logs" / f"{name}.log", s.log_bytes, s.log_files)
        return Child(name, command, {**s.environment(), **(environment or {})}, log, self._say, expendable=expendable)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Raises CannotStart if another `up` uses this home."""
    lock = _lock(home / "lock")
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """Returns the descriptor that holds the lock. Raises CannotStart."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text(errors="replace").strip() or "unknown"
        raise CannotStart(
            f"mldeploy is up on {path.parent} already (process {holder}); stop that one, or give another --home"
        ) from None
    except OSError as error:
        raise CannotStart(f"{path.parent} cannot be locked ({error}): mend that, or give another --home") from None
    with suppress(OSError):  # a full disk: the lock holds, and the pid is only for the message above
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _check_networks(text: str) -> None:
    """Raises CannotStart."""
    try:
        parse_networks(text)
    except ValueError as error:
        raise CannotStart(f"MLDEPLOY_WEBHOOK_NETWORKS: {error}") from None


def _check_port(host: str, port: int) -> None:
    """Raises CannotStart."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        other = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror or error}; give another {other}") from None
