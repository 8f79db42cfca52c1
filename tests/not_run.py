"""The one table of code in the documents that no test runs: why not, and what is checked in its place."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.failure_log import failure_line
from jobs.job import Metadata
from jobs.ledger import FailedJob
from tests.command_checks import check_docker, check_exports, check_make, check_mldeploy
from tests.processes import ROOT


class NotRun(NamedTuple):
    reason: str
    check: Callable[[str], None]


def check_pytest(command: str) -> None:
    """Check that the tests exist, those of `-k` too, and that pytest or tests/conftest.py has the options."""
    words = shlex.split(command)[1:]
    texts = [file.read_text() for word in words if word.startswith("tests/") for file in _files(ROOT / word)]
    options = [word.split("=")[0] for word in words if word.startswith("-")]
    ours = re.findall(r'addoption\("(--[\w-]+)"', (ROOT / "tests" / "conftest.py").read_text())
    unknown = [option for option in options if option not in {*ours, "-k", "-s", "-x"}]
    assert not unknown, f"pytest has no option {unknown}"
    if "-k" in words:
        chosen = words[words.index("-k") + 1]
        assert any(re.search(rf"def test_\w*{chosen}", text) for text in texts), f"no test is called {chosen}"


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("test_*.py")) if path.is_dir() else [path]


def check_activation(command: str) -> None:
    """`make install` makes the folder whose script this is."""
    assert command == ". .venv/bin/activate"
    assert "uv venv" in (install := (ROOT / "deploy" / "install.sh").read_text()) or "-m venv" in install
    assert ".venv" in install


def check_paths(text: str) -> None:
    """Files and folders that the drawing names must exist; some are named from their package on."""
    named = {path.strip("/") for path in re.findall(r"\b[a-z_]+(?:/[a-z_]+)+", text)} | set(
        re.findall(r"\b[a-z]+_[a-z_]+\b", text)
    )
    known = {form for path in _sources() for form in _forms(path)}
    missing = sorted(named - known - {"pub/sub"})
    assert not missing, f"not in the checkout: {missing}"


def _sources() -> set[str]:
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    found = [path for folder in folders for path in (folder, *folder.rglob("*"))] + list(ROOT.glob("*.py"))
    return {str(path.relative_to(ROOT).with_suffix("")) for path in found}


def _forms(path: str) -> set[str]:
    """Return `api/http/dispatch`, `http/dispatch` and `dispatch` of the first."""
    parts = path.split("/")
    return {"/".join(parts[since:]) for since in range(len(parts))}


def check_failure_line(text: str) -> None:
    """The service's own line must have the same fields in the same order."""
    job = FailedJob("1", "predict", "wine/3", b'{"type":"prediction-failed","detail":"ValueError: x"}', _trace())
    shown, real = (re.findall(r"\b(\w+)=", line) for line in (text, failure_line(job)))
    assert shown == real, f"the log has {real}"
    assert re.match(r"job <id> failed: ", text)


def _trace() -> bytes:
    return msgspec.json.encode(Metadata(trace="00-1-1-01"))


INSTALLS = "it installs into .venv, in which the tests run"
MINUTES = "it takes minutes"
DOCKER = "it needs Docker; `make compose-test` runs it"
UNTIL_CTRL_C = "it goes on until Ctrl-C; the fixtures start the service"

COMMANDS_NOT_RUN = {
    "make demo": NotRun(f"{INSTALLS}; tests/acceptance/test_demo.py runs its steps", check_make),
    "make up": NotRun(f"{INSTALLS}, and {UNTIL_CTRL_C}", check_make),
    "make install-dev": NotRun(INSTALLS, check_make),
    'make test ARGS="-k webhooks"': NotRun(MINUTES, check_make),
    "make test": NotRun(MINUTES, check_make),
    "make test-all": NotRun(MINUTES, check_make),
    "make chaos": NotRun(MINUTES, check_make),
    "mldeploy up": NotRun(UNTIL_CTRL_C, check_mldeploy),
    ". .venv/bin/activate": NotRun("the tests may run in another environment", check_activation),
    ".venv/bin/pytest tests/unit": NotRun(MINUTES, check_pytest),
    ".venv/bin/pytest tests/unit/test_settings.py": NotRun("make test runs these", check_pytest),
    ".venv/bin/pytest tests/unit/test_settings.py -k misspelled": NotRun("make test runs this", check_pytest),
    ".venv/bin/pytest tests/integration/test_ledger.py -x": NotRun("make test runs these", check_pytest),
    ".venv/bin/pytest tests/integration/test_ledger.py --redis-url redis://localhost:6379/9": NotRun(
        "a Redis of yours", check_pytest
    ),
    ".venv/bin/pytest tests/faults/test_faults.py -s": NotRun(MINUTES, check_pytest),
    "export REDIS_PASSWORD=$(openssl rand -hex 24) SIGNING_KEY=$(openssl rand -hex 24)": NotRun(
        "it serves docker compose", check_exports
    ),
    "docker compose up --build --scale predict=4 --scale api=2": NotRun(DOCKER, check_docker),
    "docker compose exec api mldeploy keys create --name me --scopes admin": NotRun(DOCKER, check_docker),
}

TEXTS_NOT_RUN = {  # by document and first line
    ("docs/architecture.md", "settings.py       frozen Settings"): NotRun("a list of files", check_paths),
    ("docs/architecture.md", "POST /predict   api/server"): NotRun("a drawing", check_paths),
    ("docs/architecture.md", "POST /train     api/routes/train"): NotRun("a drawing", check_paths),
    ("docs/operations.md", "job <id> failed: kind="): NotRun("a line of a log", check_failure_line),
}
