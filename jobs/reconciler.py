"""The reconciler: takes work back from owners that died, rings for lanes that wait unheard, forgets what is old.

It may be killed, and any number may run: each round is one script on the ledger's own clock.
"""

import argparse
import logging
import shutil
import signal
import sys

from jobs.bell import Bell, make_celery
from jobs.connection import UNREACHABLE, check_server
from jobs.errors import LedgerFull, LedgerUnavailable, UnsafeRedis
from jobs.ledger import Ledger
from jobs.stopping import Stop
from logs import log_to_stderr
from settings import Settings, load

log = logging.getLogger("mldeploy.reconciler")

PERIOD = 0.5
OUTAGE = 5.0  # seconds without a round: leases could not be renewed either
FULL_FOR = 5.0
FORGOTTEN_AT_ONCE = 500  # by one script; more wait for the next


class Reconciler:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(settings)
        self._bell = Bell(make_celery(settings))

    def check(self) -> None:
        check_server(self._ledger.redis, self._settings)

    def round(self) -> None:
        """Raises LedgerUnavailable."""
        dead, forgotten, rings = self._ledger.reconcile(OUTAGE)
        while forgotten >= FORGOTTEN_AT_ONCE:
            _, forgotten, _ = self._ledger.reconcile(OUTAGE)
        if dead:
            log.warning("%d worker processes were silent for a whole lease; their jobs wait again", dead)
        self._bell.ring(rings)
        why = self._why_full()
        if why:
            log.warning("nothing more is accepted: %s", why)
            self._ledger.mark_full(why, FULL_FOR)

    def _why_full(self) -> str | None:
        memory = self._ledger.guard(lambda: self._ledger.redis.info("memory"))
        limit = int(memory.get("maxmemory", 0))
        if limit and int(memory["used_memory"]) > limit * self._settings.memory_share:
            return f"Redis uses more than {self._settings.memory_share:.0%} of its maxmemory"
        home = self._settings.home_path
        if home.exists() and shutil.disk_usage(home).free < self._settings.disk_reserve:
            return "the disk is nearly full"
        return None


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises UnsafeRedis."""
    stop = Stop()
    stop.on(signal.SIGTERM, signal.SIGINT)
    reconciler = Reconciler(settings)
    checked = False
    while not stop.wait(PERIOD):
        try:
            if not checked:
                reconciler.check()
                checked = True
            reconciler.round()
        except (LedgerUnavailable, LedgerFull, *UNREACHABLE) as error:
            log.warning("no round: %s", error)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.reconciler", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 0 if a reconciler has run within the last 10 s")
    arguments = parser.parse_args()
    settings = load()
    if arguments.check:
        since = Ledger(settings).since_reconciled()
        sys.exit(0 if since is not None and since < 2 * OUTAGE else 1)
    log_to_stderr("reconciler")
    try:
        run(settings)
    except UnsafeRedis as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
