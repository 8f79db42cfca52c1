"""Only its owner can read the home: secrets, payloads and key hashes."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldeploy.client import Client, JobFailed
from models.store import FolderStore
from tests.commands import mldeploy
from tests.processes import until
from tests.service import Service

pytestmark = pytest.mark.slow

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
OTHERS = 0o077


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def up() -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(home: Path, **settings: Any) -> Service:
        running.append(Service(home, **settings))
        return running[-1]

    yield start
    for service in running:
        service.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(top: Path) -> list[str]:
    return [f"{path} {mode_of(path):o}" for path in (top, *top.rglob("*")) if mode_of(path) & OTHERS]


def test_everything_that_is_written_is_private(up: Callable[..., Service], tmp_path: Path) -> None:
    service = up(tmp_path / "new" / "home")
    client = Client(service.url)
    client.predict(FLOWER).wait(60)
    client.add_rows("more", b"a,b\n1,2\n3,4\n").wait(60)
    client.webhook_secret()
    exported = tmp_path / "iris.zip"
    assert mldeploy("models", "export", "iris", "-o", str(exported), "--home", str(service.home)).returncode == 0
    completed = mldeploy("models", "import", str(exported), "--name", "brought", "--home", str(service.home))
    assert completed.returncode == 0, completed.stderr
    assert mldeploy("keys", "create", "--name", "a", "--home", str(service.home)).returncode == 0
    assert service.said_before == []
    assert open_to_others(service.home) == []
    written = {path.relative_to(service.home).parts[0] for path in service.home.rglob("*") if path.is_file()}
    assert written == {"lock", "signing.key", "redis", "logs", "models"}
    assert len(list((service.home / "models").glob("brought/*/*"))) == 3
    assert mode_of(exported) == 0o644  # the operator's own


def test_later_files_are_private_too(up: Callable[..., Service], tmp_path: Path) -> None:
    """Later means by restarted parts, by a rewrite of the append-only file, and by new logs."""
    service = up(tmp_path / "home", log_bytes=10_000)
    client, ledger = Client(service.url, retry_for=30), service.ledger
    client.predict(FLOWER).wait(60)
    ledger.redis.bgrewriteaof()
    until(lambda: list(service.home.glob("redis/appendonlydir/*.2.base.rdb")), 20, "the file has been rewritten")
    for name, child in service.children().items():
        child.kill()
        until(lambda: service.children().get(name, child) != child, 20, f"{name} runs again")  # noqa: B023
    until(lambda: mldeploy("status", "--url", service.url).returncode == 0, 60, "all is well again")
    for _ in range(8):  # each with a traceback in the log
        with pytest.raises(JobFailed):
            client.train(model="iris", estimator="DecisionTreeClassifier", params={"criterion": "x" * 100}).wait(60)
    until(lambda: list(service.home.glob("logs/train.log.*")), 10, "the log was begun anew")
    client.train(model="iris").wait(60)
    assert open_to_others(service.home) == []


def test_open_home_is_made_private_at_the_start_and_one_line_says_so(up: Callable[..., Service], tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "redis", home / "models" / "iris", home / "own", elsewhere):
        folder.mkdir(parents=True)
    ours = [home / name for name in ("lock", "signing.key", "redis/old.aof", "models/iris/card.json")]
    own = [home / "own" / "script", elsewhere / "file"]
    for file in (*ours, *own):
        file.touch()
        file.chmod(0o755)
    (home / "models" / "link").symlink_to(elsewhere)
    service = up(home)
    assert len(service.said_before) == 1
    assert f"{home} was open to other users" in service.said_before[0]
    assert mode_of(home) == 0o700
    assert all(mode_of(file) == 0o700 for file in ours)
    assert all(mode_of(file) == 0o755 for file in own)
    assert mode_of(elsewhere) == 0o755
    service.stop()
    assert up(home).said_before == []


def test_external_store_keeps_its_mode_and_is_readable_by_its_group(up: Callable[..., Service], tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "theirs").mkdir(parents=True)
    store.chmod(0o2775)
    service = up(tmp_path / "home", store=str(store))
    Client(service.url).predict(FLOWER).wait(60)
    assert service.said_before == []
    assert (mode_of(store), mode_of(store / "theirs")) == (0o2775, 0o755)
    written = [path for path in store.rglob("*") if path.name != "theirs"]
    assert {mode_of(path) for path in written if path.is_dir()} == {0o2770}
    assert {mode_of(path) for path in written if path.is_file()} == {0o660}


@pytest.mark.parametrize(("of_root", "folder", "file"), [(0o700, 0o700, 0o600), (0o755, 0o750, 0o640), (None, 0o700, 0o600)])
def test_a_folder_store_writes_for_its_owner_and_for_the_group_as_its_folder_says(
    tmp_path: Path, of_root: int | None, folder: int, file: int
) -> None:
    root = tmp_path / "store"
    if of_root is not None:
        root.mkdir()
        root.chmod(of_root)
    FolderStore(root).write("iris/1-1", {"model": b"model", "manifest.json": b"{}"})
    FolderStore(root).write_once("_datasets/a.parquet", b"rows")
    assert mode_of(root) == (folder if of_root is None else of_root)
    assert {mode_of(path) for path in root.rglob("*") if path.is_dir()} == {folder}
    assert {mode_of(path) for path in root.rglob("*") if path.is_file()} == {file}


def test_a_home_that_cannot_be_closed_is_named(tmp_path: Path) -> None:
    """The folder is another user's, in which this user may write."""
    if os.geteuid():
        pytest.skip("to be another user takes root")
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from mldeploy.local.home import make_home
home = os.open({str(home)!r}, os.O_RDONLY)
os.fchdir(home)
os.setuid(65534)
print(*make_home(Path("."), "s3://bucket"), sep="\\n")
"""
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.count("\n") == 1
    assert "cannot be closed to other users" in completed.stdout
