"""`make lock-check`: the locks can be installed from wheels alone on every supported Python and platform."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.missing import missing
from tests.processes import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
UNREACHABLE = re.compile("dns error|failed to connect|error sending request|timed out", re.IGNORECASE)


def resolve(lock: Path, python: str, platform: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Resolve without installing."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-config", "--target", str(folder)]
    command += ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:", "--require-hashes"]
    return subprocess.run([*command, "-r", str(lock)], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.slow
def test_lock_resolves_to_wheels(tmp_path: Path, lock: str, python: str, platform: str) -> None:
    resolved = resolve(ROOT / lock, python, platform, tmp_path)
    if resolved.returncode and UNREACHABLE.search(resolved.stderr):
        missing("a package index that can be reached")
    assert resolved.returncode == 0, resolved.stderr
    assert re.search(r"Would install \d+ packages", resolved.stderr)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_index(lock: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", (ROOT / lock).read_text())


def test_locks_have_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["build"]
    for lock, names in zip(LOCKS, (wanted, wanted + project["optional-dependencies"]["dev"]), strict=True):
        locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
        assert {re.split(r"[\[<>=]", name)[0] for name in names} <= locked


def test_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.15"
    classified = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)}
    assert classified == set(PYTHONS)
    assert f'SUPPORTED="{" ".join(PYTHONS)}"' in (ROOT / "deploy/install.sh").read_text()
