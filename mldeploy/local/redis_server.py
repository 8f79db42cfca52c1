"""The embedded Redis or Valkey: a real server, on a Unix socket in the home folder, with an append-only file."""

import os
from pathlib import Path
from typing import NamedTuple

from mldeploy.local.server_choice import NoRedis, choose_server, record_writer
from mldeploy.local.server_malloc import malloc_environment
from settings import Settings

SUBSCRIBERS_SHARE = 16  # one in so many bytes of maxmemory may wait for a frozen subscriber; then it is disconnected


def socket_path(settings: Settings) -> Path:
    """The path of the socket, whose folder is created if it is not the home. Raises NoRedis."""
    path = settings.embedded_socket
    folder = path.parent
    if folder != settings.home_path:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
            raise NoRedis(f"{folder} belongs to another or is open to others: remove it, or give a shorter --home")
    return path


class Command(NamedTuple):
    """``environment``: variables to be set besides those of this process."""

    server: Path
    options: list[str]
    environment: dict[str, str]


def command(settings: Settings) -> Command:
    """The command of a server that can read the home; the home records its version. Raises NoRedis."""
    data = settings.home_path / "redis"
    data.mkdir(parents=True, exist_ok=True)
    server = choose_server(data)
    record_writer(data, server.version)
    options = {
        "port": "0",
        "unixsocket": str(socket_path(settings)),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": settings.appendfsync,
        "save": "",
        "maxmemory": str(settings.maxmemory),
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": "512",  # a finished single prediction stays in the compact form
    }
    limit = str(settings.maxmemory // SUBSCRIBERS_SHARE)
    pubsub_limits = ["--client-output-buffer-limit", "pubsub", limit, limit, "0"]
    arguments = [*(part for name, value in options.items() for part in (f"--{name}", value)), *pubsub_limits]
    malloc = malloc_environment(server.path, settings.home_path / "lib", settings.environment()) if server.libc_malloc else {}
    return Command(server.path, arguments, malloc)
