"""`mldeploy … | head`: a command whose reader has left ends without an error message."""

import fcntl
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from mldeploy.client import Client
from mldeploy.closed_pipe import STATUS
from tests.commands import TIMEOUT
from tests.processes import ROOT, free_port
from tests.service import Service
from tests.suspended import nobody_trains

FLOWER = json.dumps({"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3})
IRIS = str(ROOT / "models" / "iris" / "training.csv")


def unread(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose output has no reader."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        command = [sys.executable, "-m", "mldeploy", *arguments]
        return subprocess.run(command, cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    finally:
        os.close(theirs)


def test_notice_that_nobody_reads_ends_the_command_quietly() -> None:
    """The reader of standard error has left."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "mldeploy", "jobs", "--url", f"http://127.0.0.1:{free_port()}"]
    completed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=TIMEOUT, check=False)
    os.close(theirs)
    assert (completed.stdout, completed.returncode) == (b"", STATUS)


def check_quiet(completed: subprocess.CompletedProcess[bytes]) -> None:
    assert (completed.stderr.decode(), completed.returncode) == ("", STATUS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", FLOWER),
        ("predict", FLOWER, "--no-wait"),
        ("train", "--promote", "never"),
        ("jobs",),
        ("models",),
        ("models", "iris"),
        ("models", "promote", "iris", "1"),
        ("datasets",),
        ("datasets", "add", "iris", IRIS),
        ("webhook-secret",),
    ],
)
def test_command_that_calls_the_service_ends_quietly(service: Service, arguments: tuple[str, ...]) -> None:
    check_quiet(unread(*arguments, "--url", service.url))


@pytest.mark.parametrize("command", ["result", "watch", "cancel"])
def test_a_command_about_a_job_ends_quietly(service: Service, command: str) -> None:
    with nobody_trains(service) if command == "cancel" else nullcontext():
        job = Client(service.url).train(model="iris", promote="never")
        check_quiet(unread(command, job.id, "--url", service.url))


@pytest.mark.parametrize("arguments", [("keys", "list"), ("models", "export", "iris", "-o", os.devnull)])
def test_a_command_on_the_server_ends_quietly(service: Service, arguments: tuple[str, ...]) -> None:
    check_quiet(unread(*arguments, "--home", str(service.home)))


@pytest.mark.parametrize("arguments", [("--help",), ("up", "--help"), ("datasets", "delete", "--help")])
@pytest.mark.slow
def test_help_ends_quietly(arguments: tuple[str, ...]) -> None:
    check_quiet(unread(*arguments))


@pytest.mark.slow
def test_the_demo_ends_with_its_reader_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    check_quiet(unread("demo", "--home", str(home), "--port", str(free_port())))
    home.mkdir(exist_ok=True)  # it may have ended before it made one
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its service runs


def test_many_jobs_into_head(service: Service) -> None:
    """The reader leaves in the middle, as in a shell."""
    client = Client(service.url)
    for number in range(300):
        client.predict(json.loads(FLOWER), label=f"pipe-{number}")
    script = f"set -o pipefail; {sys.executable} -m mldeploy jobs --limit 1000 --url {service.url} | head -1"
    completed = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert completed.stderr == ""
    assert completed.returncode == STATUS
    assert json.loads(completed.stdout)["label"] == "pipe-299"
