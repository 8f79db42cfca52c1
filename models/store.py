"""Where the files of versions and data sets are kept: a folder or, through fsspec, any object store.

Both give the same guarantees, which tests/integration/test_store.py checks.
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
    "max_concurrency": 1,  # a file is read by one request; by default its size is requested first
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"total_max_attempts": 2}},
}
PUT_SECONDS = 60.0  # time-out of an upload, plus one second for each …
PUT_BYTES_A_SECOND = 1_000_000  # … of its bytes
OWNER, FILE = 0o700, 0o666  # bits of a mode: the owner's, and those that a file may have
OPTIONS: dict[str, dict[str, Any]] = {"s3": S3, "s3a": S3}

T = TypeVar("T")


class Misplaced(ValueError):
    """The path leaves the store or is not valid. Nothing was changed."""


class BadStore(ValueError):
    """The location cannot be a store; the message says what to do."""


class StoreUnavailable(OSError):
    """The store cannot be reached or does not exist. It may come back."""


class Store(Protocol):
    """Paths are relative to the store's root, separated by slashes. Every method raises Misplaced, and StoreUnavailable or
    another OSError if the store fails; but ``names`` and ``remove`` accept a folder store that does not exist."""

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a folder. The last file is its seal: once it can be read, all can. Raises FileExistsError."""

    def write_once(self, path: str, content: bytes) -> None:
        """Write a file that is named by the hash of its content, unless it exists."""

    def read(self, path: str) -> bytes:
        """Read a whole file at once. Raises FileNotFoundError only if the store exists and the file does not."""

    def names(self, folder: str) -> list[str]:
        """List a folder, sorted; names of unfinished entries start with a dot. Empty if the folder does not exist. ``""`` is the
        store's root."""

    def remove(self, folder: str) -> None:
        """Remove a folder with its content, or a file, if it exists. In no defined order: remove a seal before its folder."""


def open_store(location: str) -> Store:
    """Return the store at ``scheme://…`` or in a folder, without accessing it yet. Raises BadStore."""
    if "://" in location and not location.startswith("file://"):
        return ObjectStore(location)
    return FolderStore(Path(location.removeprefix("file://")).expanduser())


class FolderStore:
    """A folder, made by the first write. Other users can read nothing in it; the folder's group can if the mode of an existing
    folder lets it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a temporary folder, sync and rename it: a failure or loss of power leaves nothing under the folder's name."""
        final = self.root / _placed(folder)
        for name in files:
            _plain(name)
        temporary, mode = final.with_name("." + final.name), self._mode()
        _make_folder(temporary.parent, mode)
        _mkdir(temporary, mode)  # fails if another writer has made it
        try:
            if final.exists():
                raise FileExistsError(f"{folder} is in the store already")
            for name, content in files.items():
                _write_synced(temporary / name, content, mode)
            _sync_folder(temporary)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(final.parent)

    def write_once(self, path: str, content: bytes) -> None:
        final = self.root / _placed(path)
        if not final.exists():
            mode = self._mode()
            _make_folder(final.parent, mode)
            _write_atomically(final, content, mode)
        for left in final.parent.glob(f".{final.name}.*"):  # of writers that died or were slower
            left.unlink(missing_ok=True)
        _sync_folder(final.parent)  # even if another writer renamed it

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
        with suppress(FileNotFoundError, NotADirectoryError):  # another process may remove it at the same time
            if place.is_dir() and not place.is_symlink():
                temporary = place.with_name(f".{place.name.lstrip('.')}.{uuid4().hex}")
                place.rename(temporary)  # so that a partly removed folder is never visible
                shutil.rmtree(temporary)
            else:
                place.unlink()

    def _mode(self) -> int:
        """Return the mode of new folders; files get the same without the execute bits. Makes the root."""
        _make_folder(self.root, OWNER)
        return OWNER | self.root.stat().st_mode & stat.S_IRWXG


class ObjectStore:
    """A bucket, or a prefix in one. The scheme's own library finds credentials and endpoint.

    A failed write leaves files without their seal; the next write of that folder overwrites them, or ``remove`` removes them.
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
        # By process, because no connection survives a fork. The parent's is kept: a child that garbage-collected it would wait
        # a second for an event loop that it does not have.
        self._sessions: dict[int, tuple[Any, str]] = {}

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        paths = {f"{_placed(folder)}/{_plain(name)}": content for name, content in files.items()}
        seal = list(paths)[-1]
        if self._call(seal, lambda filesystem, path: filesystem.exists(path)):
            raise FileExistsError(f"{folder} is in the store already")
        for path, content in paths.items():
            self._put(path, content)

    def write_once(self, path: str, content: bytes) -> None:
        if not self._call(_placed(path), lambda filesystem, place: filesystem.exists(place)):
            self._put(path, content)

    def read(self, path: str) -> bytes:
        content: bytes = self._call(_placed(path), lambda filesystem, place: filesystem.cat_file(place))
        return content

    def names(self, folder: str) -> list[str]:
        def list_names(filesystem: Any, path: str) -> list[str]:
            return [
                PurePosixPath(found).name for found in filesystem.ls(path, detail=False) if found.strip("/") != path.strip("/")
            ]

        try:
            return sorted(self._call(_inside(folder), list_names))
        except FileNotFoundError:
            return []

    def remove(self, folder: str) -> None:
        def remove_all(filesystem: Any, path: str) -> None:
            for found in filesystem.find(path):
                filesystem.rm_file(found)  # rm() expands patterns, and reports no failure

        with suppress(FileNotFoundError):
            self._call(_placed(folder), remove_all)

    def _put(self, path: str, content: bytes) -> None:
        def put(filesystem: Any, place: str) -> None:
            # aiohttp has no time-out of its own while it waits for "100 Continue" and for room to send
            limit = {"timeout": PUT_SECONDS + len(content) / PUT_BYTES_A_SECOND} if filesystem.async_impl else {}
            filesystem.pipe_file(place, content, **limit)

        self._call(path, put)

    def _call(self, path: str, operation: Callable[[Any, str], T]) -> T:
        """Raises FileNotFoundError if the store exists, StoreUnavailable for every other error of its library."""
        try:
            filesystem, root = self._session()
            try:
                return operation(filesystem, f"{root}/{path}" if path else root)
            except FileNotFoundError:
                if not filesystem.exists(root if root.startswith("/") else root.split("/")[0]):
                    raise StoreUnavailable(f"{self._scheme}: {root} is not there") from None
        except (StoreUnavailable, MemoryError):
            raise
        except Exception as error:  # each scheme's library has its own exceptions
            raise StoreUnavailable(f"{self._scheme}: {type(error).__name__}: {error}") from error
        raise FileNotFoundError(f"{path} is not in the store")

    def _session(self) -> tuple[Any, str]:
        process = os.getpid()
        if process not in self._sessions:
            options = {"use_listings_cache": False, "skip_instance_cache": True, **OPTIONS.get(self._scheme, {})}
            filesystem, root = self._url_to_fs(self.location, **options)
            if self._scheme in OPTIONS:
                filesystem.retries = 1  # s3fs would repeat the attempts of botocore five times
            self._sessions[process] = (filesystem, root.rstrip("/"))
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
        with suppress(FileExistsError):  # another process was faster
            _mkdir(folder, mode)
        _sync_folder(folder.parent)


def _mkdir(folder: Path, mode: int) -> None:
    """Make a folder with this mode, whatever the umask. Raises FileExistsError."""
    folder.mkdir(mode=OWNER)
    if mode != OWNER:
        folder.chmod(mode | folder.stat().st_mode & stat.S_ISGID)


def _write_atomically(final: Path, content: bytes, mode: int) -> None:
    temporary = final.with_name(f".{final.name}.{uuid4().hex}")
    try:
        _write_synced(temporary, content, mode)
        temporary.rename(final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not (isinstance(error, FileNotFoundError) and final.exists()):  # else another process was faster, and removed it
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
