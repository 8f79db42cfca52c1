"""The README's Python and its commands, run as they stand against a service."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.processes import ROOT
from tests.service import Service

README = (ROOT / "README.md").read_text()
MAX_LINES = 130
COMMANDS = re.findall(r"^mldeploy (?:predict|status)[^#\n]*", README, re.MULTILINE)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 2  # else the test below would be left out


def test_python_prints_what_the_comments_say(service: Service) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL)).replace("http://127.0.0.1:5000", service.url)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "{'prediction': 'setosa', 'input': {'sepal_length': 5.0, 'sepal_width': 3.2, 'petal_length': 1.5, 'petal_width': 0.3}}",
        "setosa",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_shell_work(service: Service, command: str) -> None:
    environment = os.environ | {"MLDEPLOY_URL": service.url}
    program = [sys.executable, "-m", *shlex.split(command)]
    ended = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
