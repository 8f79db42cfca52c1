"""Where the files of versions and data sets are kept: a folder or, through fsspec, any object store.

Both keep the same promises; tests/integration/test_store.py holds them to it.
"""

import importlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar
from uuid import uuid4

S3 = {
    "max_concurrency": 1,  # one request reads a file; the default asks for its size first
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"total_max_attempts": 2}},
}
PUT_SECONDS = 60.0  # and one more for each …
PUT_BYTES_A_SECOND = 1_000_000
OWNER, FILE = 0o700, 0o666  # of a mode: all that the owner may, and all that a file may
OPTIONS: dict[str, dict[str, Any]] = {"s3": S3, "s3a": S3}

T = TypeVar("T")


class Misplaced(ValueError):
    """The path leaves the store, or is none. Nothing was touched."""


class BadStore(ValueError):
    """There can be no store at this location; the message says what to do."""


class StoreUnavailable(OSError):
    """The store cannot be reached, or is not there. It may come back."""


class Store(Protocol):
    """Paths have parts between slashes, from the top of the store. Every method raises Misplaced; all but ``names`` and
    ``remove`` of a folder store that is not there raise StoreUnavailable, or another OSError, if the store fails."""

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write the folder; the last file is its seal: who can read that can read all. Raises FileExistsError."""

    def write_once(self, path: str, content: bytes) -> None:
        """Write a file that is named for its content: if it is there already, it is this one."""

    def read(self, path: str) -> bytes:
        """The whole file, in one reading. Raises FileNotFoundError only if the store is there and the file is not."""

    def names(self, folder: str) -> list[str]:
        """What is directly in the folder, sorted; with a dot in front, what was never finished. Empty if there is no folder.
        ``""`` is the top of the store."""

    def remove(self, folder: str) -> None:
        """The folder and all in it, or the file; it need not be there. In no order: remove a seal before its folder."""


def open_store(location: str) -> Store:
    """The store at ``scheme://…`` or in a folder; nothing is asked of it yet. Raises BadStore."""
    if "://" in location and not location.startswith("file://"):
        return ObjectStore(location)
    return FolderStore(Path(location.removeprefix("file://")).expanduser())


class FolderStore:
    """A folder, made by the first writing. Other users can read nothing that is written there; the folder's group can if the
    folder, as whoever made it wants it, is open to that."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Aside, synced, then renamed: what fails, or loses power, leaves nothing under the folder's name."""
        final = self.root / _placed(folder)
        for name in files:
            _plain(name)
        run_in_thread, mode = final.with_name("." + final.name), self._mode()
        _make_folder(run_in_thread.parent, mode)
        _mkdir(run_in_thread, mode)  # one writer at a time has it
        try:
            if final.exists():
                raise FileExistsError(f"{folder} is in the store already")
            for name, content in files.items():
                _write_synced(run_in_thread / name, content, mode)
            _sync_folder(run_in_thread)
            run_in_thread.rename(final)
        except BaseException:
            shutil.rmtree(run_in_thread, ignore_errors=True)
            raise
        _sync_folder(final.parent)

    def write_once(self, path: str, content: bytes) -> None:
        final = self.root / _placed(path)
        if not final.exists():
            mode = self._mode()
            _make_folder(final.parent, mode)
            _write_aside(final, content, mode)
        for left in final.parent.glob(f".{final.name}.*"):  # by one who died, or is late: it is here now
            left.unlink(missing_ok=True)
        _sync_folder(final.parent)  # also if another has just renamed it

    def read(self, path: str) -> bytes:
        try:
            return (self.root / _placed(path)).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self.root.is_dir():
                raise FileNotFoundError(f"{path} is not in the store") from None
            raise StoreUnavailable(f"the store's folder {self.root} is not there") from None
        except OSError as error:
            raise StoreUnavailable(f"{self.root}: {error}") from error

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self.root / _inside(folder)).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, folder: str) -> None:
        place = self.root / _placed(folder)
        with suppress(FileNotFoundError, NotADirectoryError):  # also what another removes at the same time
            if place.is_dir() and not place.is_symlink():
                run_in_thread = place.with_name(f".{place.name.lstrip('.')}.{uuid4().hex}")
                place.rename(run_in_thread)  # so that there is never half of it under its name
                shutil.rmtree(run_in_thread)
            else:
                place.unlink()

    def _mode(self) -> int:
        """Of new folders; files have the same without the right to enter. Makes the root."""
        _make_folder(self.root, OWNER)
        return OWNER | self.root.stat().st_mode & stat.S_IRWXG


class ObjectStore:
    """A bucket, or what is below a prefix in one. Credentials and endpoint are found by the scheme's own library.

    A writing that fails leaves what it wrote without its seal; the next one of that folder, or ``remove``, sees to it.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._scheme, _, place = location.partition("://")
        if not place.strip("/"):
            raise BadStore(f"{location} names no bucket")
        try:
            self._url_to_fs = importlib.import_module("fsspec.core").url_to_fs
            importlib.import_module("fsspec").get_filesystem_class(self._scheme)
        except (ImportError, ValueError) as error:
            raise BadStore(f"no store at {self._scheme}://: {error}. For s3://, pip install 'mldeploy[s3]'") from None
        # By process, as no connection outlives a fork. The parent's is kept all the same: a child
        # that collected it would wait a second for an event loop that it does not have.
        self._sessions: dict[int, tuple[Any, str]] = {}

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        paths = {f"{_placed(folder)}/{_plain(name)}": content for name, content in files.items()}
        seal = list(paths)[-1]
        if self._ask(seal, lambda there, path: there.exists(path)):
            raise FileExistsError(f"{folder} is in the store already")
        for path, content in paths.items():
            self._put(path, content)

    def write_once(self, path: str, content: bytes) -> None:
        if not self._ask(_placed(path), lambda there, place: there.exists(place)):
            self._put(path, content)

    def read(self, path: str) -> bytes:
        content: bytes = self._ask(_placed(path), lambda there, place: there.cat_file(place))
        return content

    def names(self, folder: str) -> list[str]:
        def list_names(there: Any, path: str) -> list[str]:
            return [PurePosixPath(found).name for found in there.ls(path, detail=False) if found.strip("/") != path.strip("/")]

        try:
            return sorted(self._ask(_inside(folder), list_names))
        except FileNotFoundError:
            return []

    def remove(self, folder: str) -> None:
        def remove_all(there: Any, path: str) -> None:
            for found in there.find(path):
                there.rm_file(found)  # rm() takes patterns, and tells of no failure

        with suppress(FileNotFoundError):
            self._ask(_placed(folder), remove_all)

    def _put(self, path: str, content: bytes) -> None:
        def put(there: Any, place: str) -> None:
            # aiohttp waits for "100 Continue", and for room to send, under no time-out of its own
            limit = {"timeout": PUT_SECONDS + len(content) / PUT_BYTES_A_SECOND} if there.async_impl else {}
            there.pipe_file(place, content, **limit)

        self._ask(path, put)

    def _ask(self, path: str, question: Callable[[Any, str], T]) -> T:
        """Raises FileNotFoundError if the store is there, StoreUnavailable for all else that its library raises."""
        try:
            there, root = self._session()
            try:
                return question(there, f"{root}/{path}" if path else root)
            except FileNotFoundError:
                if not there.exists(root if root.startswith("/") else root.split("/")[0]):
                    raise StoreUnavailable(f"{self._scheme}: {root} is not there") from None
        except (StoreUnavailable, MemoryError):
            raise
        except Exception as error:  # each scheme's library has its own
            raise StoreUnavailable(f"{self._scheme}: {type(error).__name__}: {error}") from error
        raise FileNotFoundError(f"{path} is not in the store")

    def _session(self) -> tuple[Any, str]:
        process = os.getpid()
        if process not in self._sessions:
            options = {"use_listings_cache": False, "skip_instance_cache": True, **OPTIONS.get(self._scheme, {})}
            there, root = self._url_to_fs(self.location, **options)
            if self._scheme in OPTIONS:
                there.retries = 1  # s3fs would try each try of its library five times more
            self._sessions[process] = (there, root.rstrip("/"))
        return self._sessions[process]


def _placed(path: str) -> str:
    if "\\" in path or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise Misplaced(f"{path!r} is no place in the store")
    return path


def _inside(folder: str) -> str:
    return _placed(folder) if folder else ""


def _plain(name: str) -> str:
    if "/" in name:
        raise Misplaced(f"{name!r} is no name of a file")
    return _placed(name)


def _make_folder(folder: Path, mode: int) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent, mode)
        with suppress(FileExistsError):  # another was faster
            _mkdir(folder, mode)
        _sync_folder(folder.parent)


def _mkdir(folder: Path, mode: int) -> None:
    """Whatever the umask. Raises FileExistsError."""
    folder.mkdir(mode=OWNER)
    if mode != OWNER:
        folder.chmod(mode | folder.stat().st_mode & stat.S_ISGID)


def _write_aside(final: Path, content: bytes, mode: int) -> None:
    run_in_thread = final.with_name(f".{final.name}.{uuid4().hex}")
    try:
        _write_synced(run_in_thread, content, mode)
        run_in_thread.rename(final)
    except BaseException as error:
        run_in_thread.unlink(missing_ok=True)
        if not (isinstance(error, FileNotFoundError) and final.exists()):  # else another was faster, and tidied up
            raise


def _write_synced(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE & OWNER), "wb") as file:
        os.fchmod(file.fileno(), FILE & mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
