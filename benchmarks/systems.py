"""The systems that are measured: each started as its documentation says, in an environment of its own, and stopped with all
its processes."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from jobs.ledger import Ledger
from mldeploy.client import Client
from mldeploy.local.server_choice import choose_server
from settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENTS = ROOT / ".bench"
START = 120.0  # seconds

Environment = dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A started system: its port, and the processes that make it up."""

    def __init__(self, port: int, folder: Path, pids: list[int]) -> None:
        self.port = port
        self.home = folder / "home"
        self._pids = pids

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def processes(self) -> list[psutil.Process]:
        found = []
        for pid in self._pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return found

    def cpu(self) -> dict[int, tuple[str, float]]:
        """Per process its name and the seconds of CPU that it has used."""
        used = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                used[process.pid] = _name(process), sum(process.cpu_times()[:2])
        return used

    def memory(self) -> int:
        """Bytes that are this system's alone, of all its processes."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().uss
        return total


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    for mark in ("redis-server", "valkey-server", "gunicorn", "celery"):
        if any(mark in word for word in words):
            return mark
    if "-m" in words:
        return " ".join(words[words.index("-m") + 1 :][:2])
    return process.name()


def environment_of(folder: Path) -> Path:
    """The bin folder of a virtual environment with what ``folder/requirements.txt`` names; made if it is not there yet."""
    wanted = (folder / "requirements.txt").read_text()
    home = ENVIRONMENTS / f"{folder.name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    if not (home / "ready").exists():
        print(f"making an environment for {folder.name}", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*map(str, pip), "-r", str(folder / "requirements.txt")], check=True)
        (home / "ready").touch()
    return home / "bin"


@contextmanager
def started(commands: list[list[str]], port: int, folder: Path, environment: Environment) -> Iterator[Running]:
    """The processes, until the block ends; each in a session of its own and ended with all of it."""
    children = []
    with (folder / "log").open("ab") as log:
        for command in commands:
            children.append(
                subprocess.Popen(
                    command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
                )
            )
    running = Running(port, folder, [child.pid for child in children])
    family = list[psutil.Process]()
    try:
        yield running
        family = running.processes()
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
        for process in [*family, *running.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for child in children:
            child.wait()


def until(met: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} was not ready within {START:g} s")
        time.sleep(0.1)


def answers(url: str, **request: object) -> Callable[[], bool]:
    """Whether it answers well; ``request`` as for requests.request."""

    def ask() -> bool:
        try:
            return bool(requests.request(**{"method": "GET", "timeout": 5, **request}, url=url).ok)  # type: ignore[arg-type]
        except requests.RequestException:
            return False

    return ask


# mldeploy itself


@contextmanager
def mldeploy(folder: Path, checkout: Path = ROOT, python: str = sys.executable, **settings: object) -> Iterator[Running]:
    chosen = {"home": folder / "home", "port": free_port(), "stall": 3600, **settings}
    environment = {f"MLDEPLOY_{name.upper()}": str(value) for name, value in chosen.items()} | {"PYTHONPATH": str(checkout)}
    with started([[python, "-m", "mldeploy", "up"]], int(str(chosen["port"])), folder, environment) as running:
        until(answers(running.url + "/health/ready"), "mldeploy")
        until(lambda: all(Client(running.url).ready()["workers"].values()), "its workers")
        yield running


def ledger_of(running: Running) -> Ledger:
    return Ledger(Settings(home=str(running.home)).with_embedded_redis())


def _line(process: psutil.Process) -> list[str]:
    """Empty for one that has just ended, as Redis's children do."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@contextmanager
def stopped(running: Running, kind: str) -> Iterator[None]:
    """The worker processes of a kind do nothing meanwhile; their parent renews their leases."""
    parents = [p for p in running.processes() if _line(p)[-2:] == ["worker", kind]]
    children = [child for parent in parents for child in parent.children()]
    for process in children:
        process.suspend()
    try:
        yield
    finally:
        for process in children:
            process.resume()


@contextmanager
def no_training(running: Running) -> Iterator[str]:
    """Nobody trains meanwhile; gives the path of a job that therefore does not end."""
    with stopped(running, "train"):
        yield str(Client(running.url).train(model="iris").answer["result_url"])


# What it is measured against


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis with its default settings, as the tutorials run it. Gives its URL."""
    port = free_port()
    command = [str(choose_server().path), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with started([command], port, folder, {}):
        until(lambda: _listens(port), "Redis")
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def tutorial(folder: Path, model: Path) -> Iterator[Running]:
    here, port = HERE / "baselines" / "tutorial", free_port()
    tools = environment_of(here)
    with redis(folder) as broker:
        environment = {"BROKER": broker, "MODEL": str(model), "PYTHONPATH": str(here)}
        web = [str(tools / "gunicorn"), "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}", "tutorial:app"]
        worker = [str(tools / "celery"), "-A", "tutorial.celery", "worker", "-c", "1", "-l", "warning"]
        with started([web, worker], port, folder, environment) as running:
            until(lambda: _listens(port), "the tutorial")
            until(lambda: _tutorial_answers(running.url), "the tutorial's worker")
            yield running


def _tutorial_answers(url: str) -> bool:
    row = {"sepal_length": 5, "sepal_width": 3, "petal_length": 1, "petal_width": 1}
    name = requests.post(url + "/predict", json=row, timeout=5).json()["id"]
    time.sleep(1)
    return bool(requests.get(f"{url}/result/{name}", timeout=5).json()["state"] == "SUCCESS")


@contextmanager
def bare_flask(folder: Path, model: Path) -> Iterator[Running]:
    here, port = HERE / "baselines" / "bare_flask", free_port()
    command = [str(environment_of(here) / "granian"), "--interface", "wsgi", "--port", str(port), "--log-level", "warning"]
    environment = {"MODEL": str(model), "PYTHONPATH": str(here)}
    with started([[*command, "service:app"]], port, folder, environment) as running:
        until(lambda: _listens(port), "bare Flask")
        yield running


@contextmanager
def mlserver(folder: Path, models: dict[str, Path]) -> Iterator[Running]:
    """Its fastest setting here: no batching window, no inference pool of processes."""
    here, port = HERE / "peers" / "mlserver", free_port()
    shutil.copy(here / "settings.json", folder)
    for name, file in models.items():
        (folder / name).mkdir()
        parameters = {"uri": str(file), "version": "v1"}
        described = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
        (folder / name / "model-settings.json").write_text(json.dumps(described))
    ports = {"MLSERVER_HTTP_PORT": port, "MLSERVER_GRPC_PORT": free_port(), "MLSERVER_METRICS_PORT": free_port()}
    environment = {name: str(number) for name, number in ports.items()}
    with started([[str(environment_of(here) / "mlserver"), "start", "."]], port, folder, environment) as running:
        for name in models:
            until(answers(f"{running.url}/v2/models/{name}/ready"), "MLServer")
        yield running


@contextmanager
def litserve(folder: Path, model: Path) -> Iterator[Running]:
    here, port = HERE / "peers" / "litserve", free_port()
    command = [str(environment_of(here) / "python"), str(here / "service.py"), str(port)]
    with started([command], port, folder, {"MODEL": str(model)}) as running:
        until(answers(running.url + "/health"), "LitServe")
        yield running


@contextmanager
def bentoml(folder: Path, model: Path) -> Iterator[Running]:
    here, port = HERE / "peers" / "bentoml", free_port()
    command = [str(environment_of(here) / "bentoml"), "serve", "service:Iris", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false"}
    environment = {"MODEL": str(model), "BENTOML_HOME": str(folder), "PYTHONPATH": str(here), **quiet}
    with started([command], port, folder, environment) as running:
        until(answers(running.url + "/readyz"), "BentoML")
        yield running


@contextmanager
def ray(folder: Path, model: Path) -> Iterator[Running]:
    here, port = HERE / "peers" / "ray", free_port()
    command = [str(environment_of(here) / "python"), str(here / "service.py"), str(port)]
    with redis(folder) as broker:
        environment = {"MODEL": str(model), "BROKER": broker, "RAY_USAGE_STATS_ENABLED": "0"}
        with started([command], port, folder, environment) as running:
            until(answers(running.url + "/predict", method="POST", json=[5, 3, 1, 1]), "Ray Serve")
            yield running


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
