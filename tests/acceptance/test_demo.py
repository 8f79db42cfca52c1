"""`mldeploy demo`, as a person reads it."""

import json
import re
import socket
from pathlib import Path

import pytest

from tests.commands import mldeploy
from tests.processes import free_port

COLUMNS = 100


def test_demo_runs_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works also where the environment names a proxy that does not lead to this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    shown = mldeploy("demo", "--once", "--home", str(tmp_path / "home"), "--port", str(free_port()))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert re.search(r"starting the service … \d+ s", shown.stdout)
    assert [line[0] for line in lines if re.match(r"\d\. ", line)] == list("1234567")
    story = " ".join(shown.stdout.split())
    for part in (
        "version 1 serves from now on: accuracy 0.",
        "POST /predict sepal_length 5.0, sepal_width 3.2, petal_length 1.5, petal_width 0.3 202: accepted as job ",
        "prediction: setosa, by version 1",
        "150 of 150 equal those of the model's file",
        "version 2 does not serve: accuracy",
        "a tie keeps the champion",
        "version 3 serves from now on: promote=always",
        "prediction: setosa, by version 3",
        "POST /models/iris/rollback version 1 serves again, instead of version 3",
        "RandomForestClassifier",
    ):
        assert part in story
    assert '"' not in shown.stdout


@pytest.mark.slow
def test_demo_can_be_repeated_on_its_home_and_show_all_json(tmp_path: Path) -> None:
    arguments = ("demo", "--once", "--home", str(tmp_path / "home"), "--port", str(free_port()))
    assert mldeploy(*arguments).returncode == 0
    shown = mldeploy(*arguments, "--verbose")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= COLUMNS
    sent = [line.strip()[2:] for line in shown.stdout.splitlines() if line.strip().startswith("→ ")]
    flower = "".join(sent).partition("{}")[2].partition("}")[0] + "}"
    assert json.loads(flower)["sepal_length"] == 5.0
    assert '←   "status": "succeeded"' in shown.stdout
    assert "version 4 does not serve" in shown.stdout


def test_demo_says_that_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shown = mldeploy("demo", "--once", "--home", str(tmp_path / "home"), "--port", str(port))
    assert shown.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in shown.stderr
    assert shown.stderr.splitlines()[-1] == "the demo failed: the service did not start; see above"
    assert "Traceback" not in shown.stderr
