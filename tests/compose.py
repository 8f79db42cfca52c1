"""`make compose-test`: docker-compose.yml for real. Build, start, use, kill a worker container under load, take down."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import requests
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mldeploy.demo.page import Page
from mldeploy.demo.story import FLOWER, run_story
from modeler.artifact import ArtifactStore, open_artifact_store
from settings import Settings
from tests.processes import ROOT, free_port

SCALE = {"api": 2, "predict": 2, "train": 1, "webhook": 1, "reconciler": 1, "redis": 1}
READY = 240.0  # seconds until all containers are healthy
RATE = 30.0


class Compose:
    """One project with a name and a password of its own."""

    def __init__(self) -> None:
        self.project = f"mldeploytest{secrets.token_hex(3)}"
        first = free_port()
        self._key = secrets.token_hex(16)
        settings = {"REDIS_PASSWORD": secrets.token_hex(16), "SIGNING_KEY": self._key, "API_PORTS": f"{first}-{first + 5}"}
        self._environment = Settings().environment() | settings
        self._command = _compose_command()
        self.key = ""

    def __call__(self, *arguments: str) -> str:
        completed = subprocess.run(
            [*self._command, "-p", self.project, *arguments],
            cwd=ROOT,
            env=self._environment,
            text=True,
            capture_output=True,
            check=False,
        )
        if completed.returncode:
            sys.exit(f"docker-compose {' '.join(arguments)} failed:\n{completed.stdout[-3000:]}\n{completed.stderr[-3000:]}")
        return completed.stdout

    def reserve(self, size: int) -> None:
        """Restart the reconciler with this much of Redis's disk reserved."""
        self._environment["DISK_RESERVE"] = str(size)
        self("up", "-d", "--no-deps", "--force-recreate", "reconciler")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        ids = self("ps", "-q", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(_docker("inspect", *ids)) if ids else []
        return found

    def urls(self) -> list[str]:
        ports = [container["NetworkSettings"]["Ports"]["5000/tcp"][0] for container in self.containers("api")]
        assert {port["HostIp"] for port in ports} == {"127.0.0.1"}
        return [f"http://127.0.0.1:{port['HostPort']}" for port in ports]

    def models(self) -> ArtifactStore:
        """Copy the models out of the shared volume."""
        folder = tempfile.mkdtemp()
        _docker("cp", f"{self.containers('train')[0]['Id']}:/models/.", folder)
        return open_artifact_store(folder, self._key.encode())


def main() -> None:
    say("building")
    compose = Compose()
    try:
        compose("build")
        say("starting " + ", ".join(f"{count} {name}" for name, count in SCALE.items()))
        compose("up", "-d", *(part for name, count in SCALE.items() if count > 1 for part in ("--scale", f"{name}={count}")))
        say(f"all containers healthy after {_until(lambda: _healthy(compose), READY, 'all healthy'):.0f} s")
        _check_hardening(compose)
        _check_keys(compose)
        compose.key = _make_a_key(compose)
        run_story(compose.urls()[0], compose.models, Page(sys.stdout.write), compose.key)
        _kill_a_worker_under_load(compose)
        _lack_of_disk(compose)
        _check_ledger(compose)
    except BaseException:
        print(compose("logs", "--tail", "30")[-8000:], file=sys.stderr)
        raise
    finally:
        since = time.monotonic()
        compose("down", "-v", "-t", "40")
        say(f"taken down in {time.monotonic() - since:.0f} s")
    say("compose-test passed")


def _healthy(compose: Compose) -> bool:
    states = [container["State"].get("Health", {}).get("Status") for container in compose.containers()]
    return len(states) == sum(SCALE.values()) and set(states) == {"healthy"}


def _check_hardening(compose: Compose) -> None:
    for container in compose.containers():
        host, name = container["HostConfig"], container["Name"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert container["Config"]["User"] not in ("", "root", "0"), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        ports = container["NetworkSettings"]["Ports"] or {}
        published = {bound["HostIp"] for bindings in ports.values() for bound in bindings or []}
        assert published == ({"127.0.0.1"} if "api" in name else set()), (name, published)
    say("every container: not root, read-only, no capabilities, limits of memory and processes")
    say("the API is published on loopback alone, and nothing else is")


def _check_keys(compose: Compose) -> None:
    for service in SCALE:
        variables = {each.partition("=")[0] for container in compose.containers(service) for each in container["Config"]["Env"]}
        assert ("MLDEPLOY_SIGNING_KEY" in variables) == (service in ("predict", "train")), service
    say("only those that predict and train have the key that models are signed with")


def _lack_of_disk(compose: Compose) -> None:
    """Set a reserve that no disk has: the reconciler sees the disk of Redis, and the API accepts nothing and says so."""
    url, key = compose.urls()[0], _with(compose.key)

    def accepts() -> bool:
        return requests.post(f"{url}/predict", json=FLOWER, headers=key, timeout=10).status_code == 202

    compose.reserve(1 << 40)
    _until(lambda: "the disk of Redis has" in requests.get(f"{url}/health/ready", timeout=10).text, 60, "it says what is lacking")
    assert requests.get(f"{url}/health/ready", timeout=10).status_code == 503
    assert not accepts()
    compose.reserve(200_000_000)
    _until(accepts, 60, "jobs are accepted again")
    say("with less of Redis's disk free than is to stay free nothing is accepted, and the health check says so")


def _check_ledger(compose: Compose) -> None:
    """Run the tests of the ledger on this Redis; all others run on the embedded server."""
    image, port = compose.containers("redis")[0]["Config"]["Image"], free_port()
    server = _docker("run", "-d", "--rm", "-p", f"127.0.0.1:{port}:6379", image, "redis-server", "--save", "").strip()
    try:
        url = f"redis://127.0.0.1:{port}/0"
        version = _version_once_it_answers(url)
        files = sorted(str(file) for file in (ROOT / "tests" / "integration").glob("test_ledger*.py"))
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", *files, "--redis-url", url], cwd=ROOT, check=False)
        assert done.returncode == 0, "the ledger's tests failed"
    finally:
        _docker("rm", "-f", server)
    say(f"the ledger's tests passed on {image}, which says it is {version}")


def _version_once_it_answers(url: str) -> str:
    """Return its version."""
    with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.2), 50)) as client:
        return str(client.info("server")["redis_version"])


def _make_a_key(compose: Compose) -> str:
    """Nobody is served before there is a key."""
    url = compose.urls()[0] + "/models"
    assert requests.get(url, timeout=10).status_code == 401
    token = compose("exec", "-T", "api", "mldeploy", "keys", "create", "--name", "test", "--scopes", "admin").splitlines()[-1]
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, headers=_with(token), timeout=10).status_code == 200
    say("without a key: 401; with the one that `mldeploy keys create` made: 200")
    return token


def _with(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _kill_a_worker_under_load(compose: Compose) -> None:
    urls, accepted, over = compose.urls(), list[str](), threading.Event()

    def submit() -> None:
        for number in range(100_000):
            if over.wait(1 / RATE):
                return
            url = urls[number % len(urls)]
            answer = requests.post(f"{url}/predict", json=FLOWER, headers=_with(compose.key), timeout=10)
            if answer.status_code == 202:
                accepted.append(url + answer.json()["result_url"])

    load = threading.Thread(target=submit, daemon=True)
    load.start()
    _until(lambda: len(accepted) > 100, 30, "load")
    victim = compose.containers("predict")[0]
    os.kill(victim["State"]["Pid"], signal.SIGKILL)
    say(f"killed -9 the worker container {victim['Name']} under {RATE:.0f} jobs/s")
    took = _until(lambda: _restarted(victim) and _healthy(compose), 120, "the container runs again and is healthy")
    over.set()
    load.join()
    settled = _until(lambda: all(_succeeded(url, compose.key) for url in accepted), 60, "every accepted job has succeeded")
    say(f"{len(accepted)} accepted, 0 lost, each setosa, the last {settled:.1f} s after the load")
    say(f"the container was healthy again after {took:.0f} s")


def _restarted(victim: dict[str, Any]) -> bool:
    (now,) = json.loads(_docker("inspect", victim["Id"]))
    return bool(now["RestartCount"] > victim["RestartCount"] and now["State"]["Running"])


def _succeeded(url: str, key: str) -> bool:
    answer = requests.get(url, headers=_with(key), timeout=10).json()
    assert answer["status"] in ("queued", "running", "succeeded"), answer
    return bool(answer["status"] == "succeeded" and answer["result"]["prediction"] == "setosa")


def _until(met: Callable[[], bool], seconds: float, what: str) -> float:
    since = time.monotonic()
    while not met():
        if time.monotonic() - since > seconds:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
    return time.monotonic() - since


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], text=True, capture_output=True, check=True).stdout


def _compose_command() -> list[str]:
    """Return docker-compose or docker's compose plugin. Ends the program with what is missing."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        sys.exit("compose-test needs a running Docker engine that this user may use: `docker info` fails")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    sys.exit("compose-test needs Docker Compose: the plugin `docker compose` or the program `docker-compose`")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
