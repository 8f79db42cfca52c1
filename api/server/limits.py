"""Limits of a server process: connections, time-outs and pace."""

import resource

from msgspec import Struct

from settings import BadSettings, Settings

OTHER_FILES = 512  # open files of a process beside its connections
DEFAULT_CONNECTIONS = 10_000  # if the machine allows so many files
DEFAULT_ADDRESS_SHARE = 0.5  # of all connections
MIN_CONNECTIONS = 64


class Limits(Struct, frozen=True):
    """Of one process. Times are in seconds. ``body_pace``: the minimum of bytes per second at which a client must send a body
    after ``grace``, and read a response."""

    connections: int
    per_address: int
    header_timeout: float
    idle_timeout: float
    body_pace: int
    grace: float = 10.0
    read_window: float = 30.0  # the pace of reading is checked over each such window
    unread: int = 250_000_000  # bytes of responses that clients have not read, in total
    reserve: int = 64  # connections beyond the limit, for health checks


def plan_limits(settings: Settings) -> Limits:
    """Derives the limits from the settings and from the number of files that this process may open, which is raised if possible.
    Raises BadSettings if the process may not open enough files for the connections."""
    max_connections = _raise_files(settings.api_connections + OTHER_FILES) - OTHER_FILES
    wanted = settings.api_connections or min(DEFAULT_CONNECTIONS, max(max_connections, MIN_CONNECTIONS))
    if wanted > max_connections:
        raise BadSettings(
            f"MLDEPLOY_API_CONNECTIONS: {wanted:,} connections and {OTHER_FILES} other files are more than a process may open "
            f"here (ulimit -Hn): raise that, or lower this to {max(max_connections, 0):,}"
        )
    return Limits(
        connections=wanted,
        per_address=settings.api_connections_per_address or max(1, int(wanted * DEFAULT_ADDRESS_SHARE)),
        header_timeout=settings.header_timeout,
        idle_timeout=settings.idle_timeout,
        body_pace=settings.body_pace,
    )


def _raise_files(wanted: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = max(DEFAULT_CONNECTIONS * 10, wanted)
    target = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        return target
    return enough if soft == resource.RLIM_INFINITY else soft
