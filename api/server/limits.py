"""How many connections there may be, and how long each may take for what."""

import resource

from msgspec import Struct

from settings import BadSettings, Settings

OTHER_FILES = 512  # that a process may have open beside its connections
DERIVED = 10_000  # connections, where the machine allows so many files
DERIVED_SHARE = 0.5  # of all connections, of one address
LEAST = 64


class Limits(Struct, frozen=True):
    """Of one process. Times in seconds; ``body_pace``: bytes a second, with which a body must come after
    ``grace``, and an answer be taken."""

    connections: int
    per_address: int
    header_timeout: float
    idle_timeout: float
    body_pace: int
    grace: float = 10.0
    read_window: float = 30.0  # in each of which a client takes so much of its answer, at that pace
    unread: int = 250_000_000  # bytes of answers that clients have not taken
    reserve: int = 64  # connections beyond the bound, for health checks


def plan_limits(settings: Settings) -> Limits:
    """From the settings and the number of files that this process may open, which is raised as far as it goes. Raises
    BadSettings for a number of connections that it has no files for."""
    most = _raise_files(settings.api_connections + OTHER_FILES) - OTHER_FILES
    wanted = settings.api_connections or min(DERIVED, max(most, LEAST))
    if wanted > most:
        raise BadSettings(
            f"MLDEPLOY_API_CONNECTIONS: {wanted:,} connections and {OTHER_FILES} other files are more than a process may open "
            f"here (ulimit -Hn): raise that, or lower this to {max(most, 0):,}"
        )
    return Limits(
        connections=wanted,
        per_address=settings.api_connections_per_address or max(1, int(wanted * DERIVED_SHARE)),
        header_timeout=settings.header_timeout,
        idle_timeout=settings.idle_timeout,
        body_pace=settings.body_pace,
    )


def _raise_files(wanted: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = max(DERIVED * 10, wanted)
    target = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        return target
    return enough if soft == resource.RLIM_INFINITY else soft
