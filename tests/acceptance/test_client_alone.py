"""`pip install ./client` in a bare virtual environment: the client and its commands, and nothing of the server."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.service import Service

FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
TIMEOUT = 300.0  # seconds
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with mldeploy-client alone."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("client", "mldeploy"):  # a copy, for pip builds where the sources are
        shutil.copytree(ROOT / name, folder / "sources" / name)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, str(folder / "sources" / "client")]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert installed.returncode == 0, installed.stderr
    return folder / "bin"


def run(command: list[str | Path], url: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLDEPLOY_", "PYTHON"))}
    environment = kept | {"MLDEPLOY_URL": url}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_client_predicts_and_trains(bin_folder: Path, service: Service) -> None:
    code = f"""
from mldeploy import Client
client = Client({service.url!r})
print(client.predict({FLOWER!r}).wait(60)["prediction"])
print(client.train({str(ROOT / "models" / "iris" / "training.csv")!r}, model="alone").wait(60)["model"]["version"])
"""
    ended = run([bin_folder / "python", "-c", code], service.url)
    assert ended.stdout.split() == ["setosa", "1"], ended.stderr


def test_frames_are_sent_without_pyarrow(bin_folder: Path, service: Service) -> None:
    folder = bin_folder.parent / "pandas"
    install: list[str | Path] = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder, "pandas"]
    installed = run([bin_folder / "python", *install], "")
    assert installed.returncode == 0, installed.stderr
    code = f"""
import sys
sys.path.append({str(folder)!r})
import pandas as pd
from importlib.util import find_spec
from mldeploy import Client
client = Client({service.url!r})
frame = pd.DataFrame({{"a": ["NA", "None", "x"] * 20, "n": range(60), "y": ["2", "10", "2"] * 20}})
client.train(frame, model="frames-alone", promote="never").wait(60)
answers = client.predict(frame[["a", "n"]], model="frames-alone", version=1).wait(60)["predictions"]
print(find_spec("pyarrow"), sorted({{each["prediction"] for each in answers}}))
"""
    ended = run([bin_folder / "python", "-c", code], service.url)
    assert ended.stdout.strip() == "None ['10', '2']", ended.stderr


def test_commands_predict(bin_folder: Path, service: Service) -> None:
    ended = run([bin_folder / "mldeploy", "predict", json.dumps(FLOWER)], service.url)
    assert json.loads(ended.stdout)["result"]["prediction"] == "setosa", ended.stderr


def test_commands_of_the_server_say_where_they_run(bin_folder: Path) -> None:
    ended = run([bin_folder / "mldeploy", "models", "import", "file.joblib"], "http://127.0.0.1:9")
    assert ended.returncode == 1
    assert "runs on the server" in ended.stderr


def test_nothing_of_the_server_is_installed(bin_folder: Path) -> None:
    listed = run([bin_folder / "python", "-m", "pip", "list", "--format=json"], "")
    names = {each["name"].lower() for each in json.loads(listed.stdout)} - {"pip", "setuptools", "wheel"}
    of_requests = {"certifi", "charset-normalizer", "idna", "urllib3"}
    of_rich = {"markdown-it-py", "mdurl", "pygments"}
    assert names == {"mldeploy-client", "click", "requests", "rich", *of_requests, *of_rich}
    site = bin_folder.parent / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    assert {each.name for each in site.glob("mldeploy/*") if each.is_dir()} - {"__pycache__"} == {"client", "cli"}
    assert not any((site / name).exists() for name in ("api", "settings.py", "logs.py", "jobs", "models"))
