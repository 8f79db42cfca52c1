"""Processes of tests: each is ended by its process id, and none outlives the tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import redis

import parent_death
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.redis_connection import connect
from mldeploy.local import redis_server
from mldeploy.local.server_choice import choose_server
from settings import Settings

ROOT = Path(__file__).parent.parent
HELD: list[socket.socket] = []  # one for each port of free_port


def server_path() -> Path:
    """Return the embedded server, or the one that TESTED_SERVER names."""
    return Path(os.environ.get("TESTED_SERVER") or choose_server().path)


def free_port() -> int:
    """Return a port on which nobody listens. It is ours until this process ends: the socket that stays bound to it does not
    listen, so a server that sets SO_REUSEADDR may, but the kernel gives the port to no other process and to no connection."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    HELD.append(held)
    port: int = held.getsockname()[1]
    return port


def until(met: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until the condition holds. Returns the seconds it took; fails the test after ``seconds``."""
    since = time.monotonic()
    while not met():
        if time.monotonic() - since > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - since


class Running:
    """A process and its children. Must be started in the main thread, to which it is tied."""

    def __init__(
        self, command: list[str], settings: Settings, log: Path, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log / f"{name}.log"
        tied = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *command]
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(
                tied,
                env=settings.environment() | dict(environment or {}),
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.popen.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal_all(self, number: signal.Signals) -> None:
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and its children with -9."""
        self.signal_all(signal.SIGKILL)
        self.popen.wait()

    def terminate(self, seconds: float = 15.0) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Pieces:
    """The parts of the service, each a process that a test can kill, freeze and start again."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.settings = settings.replace(home=str(folder), port=free_port(), redis_url="").with_embedded_redis()
        self.folder = folder
        self._running: list[Running] = []
        self.ledger = Ledger(self.settings)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def redis(self, environment: Mapping[str, str] | None = None, port: int = 0) -> Running:
        """``port``: an additional TCP port beside its Unix socket."""
        _, options, needed = redis_server.command(self.settings)
        options += ["--port", str(port), "--bind", "127.0.0.1"] if port else []
        own = {} if "TESTED_SERVER" in os.environ else needed
        running = self._start("redis", [str(server_path()), *options], {**own, **(environment or {})})
        until(self.redis_answers, 20, "Redis answers")
        return running

    def redis_answers(self) -> bool:
        client = connect(self.settings)
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        finally:
            client.close()

    def reconciler(self) -> Running:
        return self.python("reconciler", "jobs.reconciler")

    def api(self, environment: Mapping[str, str] | None = None) -> Running:
        running = self.python("api", "api", environment=environment)
        until(self._api_answers, 30, "the API answers")
        return running

    def api_processes(self) -> list[psutil.Process]:
        """Return the processes that answer requests; their parent only supervises them."""
        (running,) = (each for each in self._running if each.name == "api" and each.popen.poll() is None)
        return [process for process in running.family if is_leaf(process)]

    def worker(self, kind: Kind = Kind.PREDICT, name: str = "", environment: Mapping[str, str] | None = None) -> Running:
        """Start a worker group, and wait until it holds its leases."""
        running = self._start_worker(kind, name, environment)
        self._await_worker(running, kind)
        return running

    def groups(self, *names: str) -> list[Running]:
        """Start predict groups at the same time."""
        starting = [self._start_worker(Kind.PREDICT, name) for name in names]
        for running in starting:
            self._await_worker(running, Kind.PREDICT)
        return starting

    def all(self) -> None:
        """Start one of each part except the webhook worker."""
        self.redis()
        self.reconciler()
        starting = {kind: self._start_worker(kind) for kind in (Kind.PREDICT, Kind.TRAIN)}
        self.api()
        for kind, running in starting.items():
            self._await_worker(running, kind)

    def _start_worker(self, kind: Kind, name: str = "", environment: Mapping[str, str] | None = None) -> Running:
        module = ("worker.webhooks",) if kind is Kind.WEBHOOK else ("worker", kind)
        return self.python(name or kind, *module, environment=environment)

    def _await_worker(self, running: Running, kind: Kind) -> None:
        until(lambda: self.is_ready(running, kind), 40, f"worker {running.name} is ready")

    def is_ready(self, running: Running, kind: Kind = Kind.PREDICT) -> bool:
        return any(f"-{running.popen.pid}-" in owner for owner in self.ledger.live_owners(kind))

    @contextlib.contextmanager
    def reaching_redis_at(self, port: int) -> Iterator[None]:
        """Let the processes started in the block reach Redis at this TCP port."""
        direct = self.settings
        self.settings = direct.replace(redis_url=f"redis://127.0.0.1:{port}/0")
        try:
            yield
        finally:
            self.settings = direct

    def stop(self) -> None:
        for running in reversed(self._running):
            running.kill()

    def python(self, name: str, *module: str, environment: Mapping[str, str] | None = None) -> Running:
        return self._start(name, [sys.executable, "-m", *module], environment)

    def _start(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Running:
        running = Running(command, self.settings, self.folder, name, environment)
        self._running.append(running)
        return running

    def _api_answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.settings.port), 1):
            return True
        return False


def is_leaf(process: psutil.Process) -> bool:
    """Return whether it runs and has no children."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and not process.children()
    except psutil.NoSuchProcess:
        return False
