"""`mldeploy up` where it can start no process, keep no log, or print nothing."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mldeploy.client import Client
from mldeploy.local.announcer import MAX_WAITING_LINES
from tests.control_groups import control_group
from tests.processes import ROOT, free_port, until
from tests.service import MARKS, Service

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
LOG_BYTES = 10_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "home", log_bytes=LOG_BYTES, log_files=2)
    yield running
    running.stop()


class Said:
    """The lines that `up` prints from now on."""

    def __init__(self, service: Service) -> None:
        self.lines: list[str] = []
        assert service.popen.stdout is not None
        self._out = service.popen.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def times(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    def _read(self) -> None:
        self.lines.extend(iter(self._out.readline, ""))


def killed(service: Service, *names: str) -> dict[str, int]:
    """Kill these parts. Returns their process ids."""
    children = {name: child for name, child in service.children().items() if name in names}
    for child in children.values():
        child.kill()
    return {name: child.pid for name, child in children.items()}


def run_anew(service: Service, before: dict[str, int]) -> bool:
    now = service.children()
    return all(name in now and now[name].pid != pid for name, pid in before.items())


@pytest.mark.parametrize("names", [("webhook", "train"), ("redis", "reconciler", "predict", "train", "webhook", "api")])
def test_up_reports_once_that_it_can_start_no_process_and_goes_on(tmp_path: Path, names: tuple[str, ...]) -> None:
    with control_group("pids") as group:
        service = Service(tmp_path / "home")
        try:
            said, client = Said(service), Client(service.url)
            client.predict(FLOWER).wait(60)
            group.add(service.popen.pid)
            group.write("pids.max", int(group.read("pids.current")))
            before = killed(service, *names)
            until(lambda: int(group.read("pids.events").split()[-1]) >= 4 * len(names), 20, "each is tried four times")
            for name in names:
                assert said.times(f"{name} cannot be started (") == 1, said.lines
            if "predict" not in names:
                assert client.predict(FLOWER).wait(5)["prediction"] == "setosa"
            group.write("pids.max", 1000)
            until(lambda: run_anew(service, before), 20, "they run again")
            assert client.predict(FLOWER).wait(30)["prediction"] == "setosa"
            assert client.train(promote="never").wait(60)["metrics"]
            for name in names:
                assert said.times(f"{name} runs again") == 1, said.lines
        finally:
            service.stop()


def test_log_that_cannot_be_opened_stops_no_process(service: Service) -> None:
    said, log = Said(service), service.home / "logs" / "webhook.log"
    log.unlink()
    log.mkdir()
    before = killed(service, "webhook")
    until(lambda: run_anew(service, before), 20, "it runs again")
    assert said.times("the log of webhook cannot be opened (") == 1
    log.rmdir()
    killed(service, "webhook")
    until(lambda: said.times("webhook has a log again") == 1, 20, "it has a log again")
    assert log.is_file()


def test_missing_log_folder_is_made_again(service: Service) -> None:
    logs = service.home / "logs"
    shutil.rmtree(logs)
    before = killed(service, "webhook")
    until(lambda: run_anew(service, before), 20, "it runs again")
    assert (logs / "webhook.log").is_file()
    assert logs.stat().st_mode & 0o777 == 0o700


def test_full_log_disk_is_reported_once_and_ends_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "home" / "logs"
    with small_disk(logs):
        service = Service(tmp_path / "home", log_bytes=LOG_BYTES, log_files=2)
        try:
            said, log, children = Said(service), logs / "webhook.log", service.children()
            filler = logs / "filler"
            filler.write_bytes(bytes(os.statvfs(logs).f_bavail * os.statvfs(logs).f_frsize - LOG_BYTES - 8192))
            append(log, LOG_BYTES + 1)
            until(lambda: said.times("an old log of webhook cannot be kept (") == 1, 10, "it is said")
            assert log.stat().st_size <= LOG_BYTES
            assert Client(service.url).predict(FLOWER).wait(60)["prediction"] == "setosa"
            filler.unlink()
            append(log, LOG_BYTES + 1)
            until(lambda: said.times("old logs of webhook are kept again") == 1, 20, "they are kept again")
            assert log.with_name("webhook.log.1").is_file()
            assert said.times("cannot be kept") == 1
            assert service.children() == children
        finally:
            service.stop()


def append(log: Path, size: int) -> None:
    with log.open("ab") as out:
        out.write(b"x" * (size - 1) + b"\n")


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a file system of 256 kB; skips without the right to mount. Its users stop in the block."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_up_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    try:
        assert service.popen.stdout is not None
        service.popen.stdout.close()  # also that of standard error
        before = killed(service, "webhook", "redis")
        until(lambda: run_anew(service, before), 20, "they run again")
        assert Client(service.url).predict(FLOWER).wait(60)["prediction"] == "setosa"
    finally:
        assert service.stop() == 0


def test_up_survives_its_terminal_and_falls_back_to_standard_error(tmp_path: Path) -> None:
    """The same as `nohup mldeploy up` on a full disk."""
    command = ["nohup", sys.executable, "-m", "mldeploy", "up", "--home", str(tmp_path / "home"), "--port", str(free_port())]
    with Path("/dev/full").open("w") as full:
        up = subprocess.Popen(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    try:
        assert up.stderr is not None
        assert any("is ready" in line for line in iter(up.stderr.readline, ""))
        up.send_signal(signal.SIGHUP)
        next(child for child in psutil.Process(up.pid).children() if MARKS["webhook"] in child.cmdline()).kill()
        assert "webhook was killed (SIGKILL): starting it again" in up.stderr.readline()
    finally:
        up.send_signal(signal.SIGTERM)
        _, said = up.communicate(timeout=20)
    assert up.returncode == 0
    assert said == "stopping: work in hand is finished, or returned after a few seconds\n"


def test_full_output_pipe_blocks_nothing() -> None:
    code = f"""
import sys
from mldeploy.local.announcer import Announcer
with Announcer() as announcer:
    for _ in range({2 * MAX_WAITING_LINES}):
        announcer.say("x" * 200)
sys.stderr.write("done")
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b"done"
