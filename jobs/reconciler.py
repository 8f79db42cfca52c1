"""The reconciler: takes jobs back from owners that died, sends wakeups for waiting lanes, deletes old records.

It may be killed, and any number may run: each round is one script on the ledger's own clock.
"""

import argparse
import logging
import signal
import sys
import time

from jobs.broker_watch import BrokerWatch
from jobs.condition import BROKER, RECONCILER_SILENT
from jobs.disk import DiskWatch
from jobs.errors import LedgerFull, LedgerUnavailable, UnsafeRedis
from jobs.failure_log import FailureLog
from jobs.health_notes import HealthNotes
from jobs.ledger import Ledger, MemoryLook
from jobs.memory import plan_memory, share_out
from jobs.redis_connection import UNREACHABLE, check_server
from jobs.shutdown import ShutdownSignal
from jobs.wakeup import WakeupSender, make_celery
from logs import log_to_stderr
from settings import Settings, load

log = logging.getLogger("mldeploy.reconciler")

ROUND_INTERVAL = 0.5  # seconds
OUTAGE = 5.0  # seconds without a round, after which leases could not be renewed either
REAL_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # also runs while the machine is suspended


class Reconciler:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(settings)
        self._notes = HealthNotes(self._ledger)
        celery = make_celery(settings)
        self._wakeup_sender = WakeupSender(celery)
        self._failures = FailureLog(self._ledger)
        self._disk = DiskWatch(settings, self._ledger)
        self._broker = BrokerWatch(celery) if settings.broker_url else None
        self._reported = ""  # the broker's failure
        self._full = False  # as last logged
        self._time: tuple[int, float] | None = None  # the ledger's and our own clock's, in the last round

    def check(self) -> None:
        check_server(self._ledger.redis, self._settings)
        self._disk.check()
        if self._broker:
            self._broker.start()

    def round(self) -> None:
        """Raises LedgerUnavailable."""
        look = self._memory_look()
        if bool(look.full) != self._full:
            self._full = bool(look.full)
            log.warning("nothing more is accepted: %s", look.full) if self._full else log.info("jobs are accepted again")
        more = self._reconcile(look)
        while more:
            more = self._reconcile(None)
        self._failures.round()
        if self._broker:
            self._report(self._broker.failure)

    def _reconcile(self, look: MemoryLook | None) -> bool:
        """Returns whether there are more jobs to expire, or records to delete."""
        done = self._ledger.reconcile(OUTAGE, self._expected(), look)
        self._time = done.now, time.clock_gettime(REAL_TIME)
        if done.dead:
            log.warning("%d worker processes were silent for a whole lease; their jobs wait again", done.dead)
        self._wakeup_sender.send(done.wakeups)
        return done.more

    def _report(self, failure: str) -> None:
        """Report the broker's failure in each round, so that the report expires with this process. Raises LedgerUnavailable or
        LedgerFull."""
        if failure:
            self._notes.add_problem(BROKER, failure, RECONCILER_SILENT)
        elif self._reported:
            self._notes.remove_problem(BROKER)
        if failure != self._reported:
            log.warning("the broker does not answer: %s", failure) if failure else log.info("the broker answers again")
        self._reported = failure

    def _expected(self) -> int | None:
        """The ledger's time in ms by our own clock; None before the first round."""
        return None if self._time is None else self._time[0] + int(1000 * (time.clock_gettime(REAL_TIME) - self._time[1]))

    def _memory_look(self) -> MemoryLook:
        memory = self._ledger.guard(lambda: self._ledger.redis.info("memory"))
        limit, in_flight = int(memory.get("maxmemory", 0)), int(memory.get("mem_clients_normal", 0))
        used = int(memory["used_memory"]) - in_flight  # the plan leaves separate room for that
        try:
            return MemoryLook(plan_memory(self._settings, limit), used, self._disk.shortage(used))
        except UnsafeRedis as error:  # maxmemory was changed meanwhile
            return MemoryLook(share_out(self._settings, limit or self._settings.maxmemory), used, str(error))


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises UnsafeRedis."""
    shutdown = ShutdownSignal()
    shutdown.on(signal.SIGTERM, signal.SIGINT)
    reconciler = Reconciler(settings)
    checked = False
    while not shutdown.wait(ROUND_INTERVAL):
        try:
            if not checked:
                reconciler.check()
                checked = True
            reconciler.round()
        except (LedgerUnavailable, LedgerFull, *UNREACHABLE) as error:
            log.warning("this round failed, the next one tries again: %s", error)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.reconciler", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 0 if a reconciler has run within the last 10 s")
    arguments = parser.parse_args()
    settings = load()
    if arguments.check:
        since = Ledger(settings).since_reconciled()
        sys.exit(0 if since is not None and since < RECONCILER_SILENT else 1)
    log_to_stderr("reconciler")
    try:
        run(settings)
    except UnsafeRedis as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
