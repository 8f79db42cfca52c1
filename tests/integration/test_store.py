"""What a store promises, tested on a folder and on an S3 server."""

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.store import OPTIONS, BadStore, FolderStore, Misplaced, ObjectStore, Store, StoreUnavailable, open_store
from tests.processes import ROOT, free_port, until
from tests.s3_server import S3Server

BUCKET = "bucket"
PREFIXES = itertools.count()
FILES = {"model": b"\0model" * 1000, "rows": b"", "manifest.json": b"{}"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    running = S3Server(tmp_path_factory.mktemp("s3"))
    running.make_bucket(BUCKET)
    yield running
    running.stop()


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a location for one test."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/tests/{next(PREFIXES)}"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    root = tmp_path / "store"
    root.mkdir()
    return str(root)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(location: str) -> Store:
    return open_store(location)


FORK_WARNING = "ignore:This process:DeprecationWarning"  # from Python 3.12 on, where there are threads


def run(code: str, location: str) -> str:
    """Return the output of a process of its own."""
    completed = subprocess.run(
        [sys.executable, "-W", FORK_WARNING, "-c", code, location],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed.stdout.strip()


def test_the_location_says_which_store_it_is(folder: str, bucket: str) -> None:
    assert isinstance(open_store(folder), FolderStore)
    assert isinstance(open_store(f"file://{folder}"), FolderStore)
    assert isinstance(open_store(bucket), ObjectStore)


@pytest.mark.parametrize("location", ["folder", "bucket"], indirect=True)
def test_written_files_are_read(store: Store, location: str) -> None:
    store.write("iris/1-1", FILES)
    assert {name: store.read(f"iris/1-1/{name}") for name in FILES} == FILES
    assert open_store(location).read("iris/1-1/model") == FILES["model"]


def test_a_folder_is_written_once(store: Store) -> None:
    store.write("iris/1-1", FILES)
    with pytest.raises(FileExistsError):
        store.write("iris/1-1", {"model": b"another", "manifest.json": b"another"})
    assert store.read("iris/1-1/model") == FILES["model"]
    assert store.names("iris") == ["1-1"]


def test_a_writing_that_fails_leaves_nothing_in_a_folder(folder: str) -> None:
    store = open_store(folder)
    with pytest.raises(OSError, match="name too long"):
        store.write("iris/1-1", {"model": b"model", "x" * 300: b"", "manifest.json": b"{}"})
    assert store.names("iris") == []
    store.write("iris/1-1", FILES)
    assert store.read("iris/1-1/manifest.json") == b"{}"


@pytest.mark.slow
def test_a_writing_that_fails_leaves_no_seal_in_a_bucket(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server freezes after the first of many files; the write ends too, though aiohttp has no time-out for it."""
    monkeypatch.setattr("models.store.PUT_SECONDS", 1.0)
    writer, reader = open_store(bucket), open_store(bucket)
    files = {f"part{number}": b"part" for number in range(200)} | {"manifest.json": b"{}"}

    def freeze() -> None:
        until(lambda: reader.names("iris/1-1"), 10, "the first file is there")
        server.running.signal_all(signal.SIGSTOP)

    freezer = threading.Thread(target=freeze)
    freezer.start()
    try:
        with pytest.raises(StoreUnavailable):
            writer.write("iris/1-1", files)
    finally:
        freezer.join()
        server.running.signal_all(signal.SIGCONT)
    assert 0 < len(reader.names("iris/1-1")) < 200
    with pytest.raises(FileNotFoundError):
        reader.read("iris/1-1/manifest.json")
    writer.write("iris/1-1", files)
    assert reader.names("iris/1-1") == sorted(files)


def test_reader_that_sees_the_seal_sees_all_files(store: Store, location: str) -> None:
    """One process reads while another writes folders."""

    def write() -> None:
        for number in range(20):
            store.write(f"iris/{number}-1", FILES)

    reader, seen = open_store(location), set[str]()

    def look() -> None:
        for name in {name for name in reader.names("iris") if not name.startswith(".")} - seen:
            with contextlib.suppress(FileNotFoundError):
                reader.read(f"iris/{name}/manifest.json")
                seen.add(name)
                assert reader.names(f"iris/{name}") == sorted(FILES)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while writer.is_alive():
            look()
    finally:
        writer.join()
    look()
    assert len(seen) == 20


@pytest.mark.parametrize("writing", ["store.write('iris/1-1', files)", "store.write_once('iris/1-1', files['large'])"])
def test_a_full_disk_leaves_nothing(folder: str, writing: str) -> None:
    code = f"""
import resource, sys
from models.store import open_store
store, files = open_store(sys.argv[1]), {{"small": b"", "large": bytes(100_000), "manifest.json": b""}}
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    {writing}
except OSError as error:
    print(type(error).__name__, store.names("iris"))
"""
    assert run(code, folder) == "OSError []"


def test_a_killed_writer_leaves_nothing_under_the_name(folder: str) -> None:
    """It kills itself at each of its syncs in turn, the last of which comes after the renaming."""
    code = """
import os, signal, sys
from models.store import open_store
fsync, files = os.fsync, {"model": b"model", "manifest.json": b"{}"}
def attempt(deaths):
    left = iter(range(deaths))
    os.fsync = lambda descriptor: fsync(descriptor) if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
    open_store(sys.argv[1]).write(f"iris/{deaths}", files)
    os._exit(0)
for deaths in range(8):
    child = os.fork() or attempt(deaths)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end=" ")
"""
    died = run(code, folder).split()
    store = open_store(folder)
    assert died[0] == "-9"
    assert died[-1] == "0"
    whole = [name for name in store.names("iris") if not name.startswith(".")]
    assert any(name.startswith(".") for name in store.names("iris"))
    assert all(store.names(f"iris/{name}") == ["manifest.json", "model"] for name in whole)
    assert len(whole) >= died.count("0")


def test_a_file_is_written_once(store: Store) -> None:
    store.write_once("data/abc", b"rows")
    store.write_once("data/abc", b"not these")
    assert store.read("data/abc") == b"rows"
    assert store.names("data") == ["abc"]


def test_names(store: Store, folder: str) -> None:
    store.write("iris/2-1", FILES)
    store.write("iris/1-1", FILES)
    store.write_once("iris/card", b"")
    store.write("iris-two/1-1", FILES)
    assert store.names("iris") == ["1-1", "2-1", "card"]
    assert store.names("iris/1-1") == sorted(FILES)
    assert store.names("iris/card") == []
    assert store.names("iri") == []
    assert store.names("wine") == []


def test_names_show_what_was_never_finished(folder: str) -> None:
    store = open_store(folder)
    (Path(folder) / "iris/.2-1").mkdir(parents=True)
    store.write("iris/1-1", FILES)
    assert store.names("iris") == [".2-1", "1-1"]
    store.remove("iris/.2-1")
    assert store.names("iris") == ["1-1"]


def test_remove(store: Store) -> None:
    for path in ("iris/1-1", "iris/1-10", "iris/2-1"):
        store.write(path, FILES)
    store.write_once("data/abc", b"rows")
    store.write_once("data/abcd", b"rows")
    store.remove("iris/1-1/manifest.json")
    assert store.names("iris/1-1") == ["model", "rows"]
    store.remove("iris/1-1")
    assert store.names("iris") == ["1-10", "2-1"]
    store.remove("data/abc")
    assert store.names("data") == ["abcd"]
    store.remove("iris")
    assert store.names("iris") == []
    for gone in ("iris", "wine/1-1", "data/abcd/below"):
        store.remove(gone)
    assert store.read("data/abcd") == b"rows"


def test_a_pattern_is_a_name_like_any_other(store: Store) -> None:
    store.write_once("data/abc", b"rows")
    store.remove("data/*")
    store.remove("data/ab?")
    assert store.names("data") == ["abc"]


def test_written_folder_is_seen_at_once_after_an_earlier_listing(store: Store, location: str) -> None:
    other = open_store(location)
    assert other.names("iris") == []
    store.write("iris/1-1", FILES)
    assert other.names("iris") == ["1-1"]


@pytest.mark.parametrize("path", ["/", "/etc", "..", "a/../b", "../a", "a/..", "a\\b", "a\0", "a//b", "a/", ".", "./a"])
@pytest.mark.slow
def test_a_misplaced_path_is_refused(store: Store, location: str, path: str) -> None:
    for refused in (store.read, store.remove, store.names):
        with pytest.raises(Misplaced):
            refused(path)
    with pytest.raises(Misplaced):
        store.write(path, FILES)
    with pytest.raises(Misplaced):
        store.write_once(path, b"")
    with pytest.raises(Misplaced):
        store.write("iris", {"model": b"", path: b""})
    assert store.names("iris") == []


def test_the_top_of_a_store_has_names_and_is_no_file(store: Store) -> None:
    store.write("iris/1-1", FILES)
    assert store.names("") == ["iris"]
    for refused in (store.read, store.remove):
        with pytest.raises(Misplaced):
            refused("")
    with pytest.raises(Misplaced):
        store.write("", FILES)
    with pytest.raises(Misplaced):
        store.write_once("", b"")
    with pytest.raises(Misplaced):
        store.write("wine", {"": b""})


def test_a_file_in_a_folder_of_a_folder_is_refused(store: Store) -> None:
    with pytest.raises(Misplaced):
        store.write("iris", {"deeper/model": b""})


def test_a_file_that_is_not_there(store: Store) -> None:
    store.write("iris/1-1", FILES)
    for path in ("iris/1-1/none", "iris/1-1", "iris/1-1/model/below", "wine"):
        with pytest.raises(FileNotFoundError):
            store.read(path)


def test_a_folder_store_that_is_not_there(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match="not there"):
        store.read("iris/1-1/model")
    assert store.names("iris") == []
    store.remove("iris")
    store.write("iris/1-1", FILES)
    assert store.read("iris/1-1/manifest.json") == b"{}"


def assert_unavailable(store: Store, seconds: float) -> None:
    for question in (store.names, store.read, store.remove):
        since = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            question("iris/1-1")
        assert not isinstance(caught.value, FileNotFoundError)
        assert time.monotonic() - since < seconds
    with pytest.raises(StoreUnavailable):
        store.write("iris/1-1", FILES)
    with pytest.raises(StoreUnavailable):
        store.write_once("data/abc", b"")


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    assert_unavailable(open_store("s3://nosuchbucket/tests"), 5)


@pytest.mark.slow
def test_a_server_that_is_not_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert_unavailable(open_store(bucket), 10)


def test_credentials_that_are_not_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreUnavailable, match="credentials"):
        open_store(bucket).read("iris/1-1/model")


@pytest.mark.slow
def test_a_server_that_freezes(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two attempts end within two read time-outs, without s3fs's own five retries."""
    monkeypatch.setitem(OPTIONS["s3"]["config_kwargs"], "read_timeout", 0.5)
    store = open_store(bucket)
    store.write("iris/1-1", FILES)
    server.running.signal_all(signal.SIGSTOP)
    try:
        since = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.read("iris/1-1/model")
        assert time.monotonic() - since < 4
    finally:
        server.running.signal_all(signal.SIGCONT)
    assert store.read("iris/1-1/model") == FILES["model"]


def test_a_fork_has_connections_of_its_own(location: str) -> None:
    """Parent and children read in turn and at once; no child waits for its parent's connections."""
    open_store(location).write("iris/1-1", {"model": b"model" * 100_000, "manifest.json": b"{}"})
    code = """
import gc, os, sys, time
from models.store import open_store
store = open_store(sys.argv[1])
def read():
    return len(store.read("iris/1-1/model")) == 500_000
def child():
    try:
        fine, since = all([read() for _ in range(10)]), time.monotonic()
        gc.collect()
        os._exit(not fine or 2 * (time.monotonic() - since > 0.9))
    finally:
        os._exit(3)
print(read(), end=" ")
children = [os.fork() or child() for _ in range(3)]
print(all([read() for _ in range(30)]), end=" ")
print(*[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children], read())
"""
    assert run(code, location) == "True True 0 0 0 True"


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(BadStore, match=r"pip install 'mldeploy\[s3\]'"):
        open_store("s3://bucket")


@pytest.mark.parametrize("location", ["nosuch://bucket", "s3://", "s3:///"])
def test_a_bad_location_is_refused(location: str) -> None:
    with pytest.raises(BadStore):
        open_store(location)


def test_the_folder_store_needs_nothing_of_the_extra(folder: str) -> None:
    code = "import sys; from models.store import open_store; open_store(sys.argv[1]).names('a'); print('fsspec' in sys.modules)"
    assert run(code, folder) == "False"
