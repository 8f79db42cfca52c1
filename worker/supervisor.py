"""The supervisor runs in Celery's parent process, which never calls a model and so is never blocked by one. It renews the
leases of its children, reports those that died or exceeded their time limit, drains, and detects a stalled consumer."""

import logging
import os
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from jobs.codec import Wakeups
from jobs.errors import LedgerError
from jobs.health_notes import HealthNotes
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender
from worker.deaths import Death, Deaths, death_of
from worker.local_wakeups import LocalWakeups
from worker.memory import Memory

log = logging.getLogger("mldeploy.supervisor")

ROUND_INTERVAL = 0.25  # seconds; the jobs of a dead child wait no longer than this
RENEWALS_PER_LEASE = 5
MAX_RENEWAL_INTERVAL = 1.0  # seconds
LOAD_REPORT_INTERVAL = 4.0  # seconds between two checks for versions that could not be loaded
RESCUE_TIMEOUT = 0.5  # seconds that jobs wait without a worker until a local wakeup is sent


def new_node() -> str:
    """A unique name for one worker parent process."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def owner_of(node: str, pid: int) -> str:
    return f"{node}:{pid}"


class Supervisor:
    def __init__(
        self,
        kind: str,
        node: str,
        ledger: Ledger,
        wakeup_sender: WakeupSender,
        wakeups: LocalWakeups,
        start_draining: Callable[[], None],
    ) -> None:
        self._kind = kind
        self._node = node
        self._ledger = ledger
        self._notes = HealthNotes(self._ledger)
        self._wakeup_sender = wakeup_sender
        self._wakeups = wakeups
        self._start_draining = start_draining
        self._pool: Any = None
        self._children: dict[int, Any] = {}  # pid -> Celery's process
        self._noted_dead: set[int] = set()  # pids that are still in Celery's list
        self._deaths = Deaths(kind, Memory())
        self._timed_out: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
        self._queued_reports: list[Callable[[], Wakeups]] = []  # calls that Redis has not accepted yet
        self._flushing = threading.Lock()
        self._next_renewal = 0.0
        self._next_load_report = 0.0
        self._unannounced_since: float | None = None  # since when jobs have waited although no message has arrived
        self._last_outage = float("-inf")
        self._drain_until: float | None = None

    # Called in the main thread, by Celery's signals and requests

    def on_ready(self, consumer: Any) -> None:
        """Called when the consumer is connected and the pool runs, and again after each reconnection."""
        self._unannounced_since = None
        self._wakeups.start(consumer)
        if self._pool is None:
            self._pool = consumer.controller.pool
            threading.Thread(target=self._run, name="supervisor", daemon=True).start()

    def on_message(self) -> None:
        """A wakeup has arrived from the broker."""
        self._unannounced_since = None

    def on_time_limit(self, pid: int, started: float) -> None:
        """Celery is about to kill a child that exceeded the hard time limit. ``started`` is on the monotonic clock."""
        self._timed_out.put((pid, started))

    def drain(self) -> None:
        """Stops claiming. Claimed jobs are finished, or returned when ``drain`` seconds are over."""
        self._start_draining()
        self._drain_until = time.monotonic() + self._ledger.settings.drain

    def on_shutdown(self) -> None:
        """Reports that all children have stopped."""
        for pid in self._children:
            self._queue_report(self._ledger.owner_left, pid)
        self._flush()

    # In the supervisor's thread

    def _run(self) -> None:
        while True:
            try:
                self._run_once()
            except LedgerError as error:
                self._last_outage = time.monotonic()
                log.warning("the ledger is not available: %s", error)
            except Exception:
                log.exception("a round failed; the next one retries")
            time.sleep(ROUND_INTERVAL)

    def _run_once(self) -> None:
        self._report_timeouts()
        self._report_deaths()
        self._flush()
        if self._kind == Kind.TRAIN:
            self._end_canceled()
        if self._kind == Kind.PREDICT and time.monotonic() >= self._next_load_report:
            self._request_load_reports()
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            self._abort_drain()
        if time.monotonic() >= self._next_renewal:
            self._renew()

    def _report_timeouts(self) -> None:
        while not self._timed_out.empty():
            pid, started = self._timed_out.get()
            redis_was_away = self._last_outage > started  # so the child may have waited for Redis and not for the model
            self._queue_report(self._ledger.release if redis_was_away else self._ledger.time_out, pid)

    def _report_deaths(self) -> None:
        processes = self._pool._pool and self._pool._pool._pool  # None when the pool has stopped
        present = {process.pid: process for process in list(processes or ())}
        self._deaths.observe(present)
        alive = {pid: process for pid, process in present.items() if death_of(process) is None}
        known = {**self._children, **present}
        for pid in known.keys() - alive.keys() - self._noted_dead:
            death = death_of(known[pid]) or Death()
            log.warning("worker process %d has died: %s", pid, death)
            self._queue_report(partial(self._ledger.owner_died, error=self._deaths.reason(pid, death)), pid)
            self._wakeups.free_slot()
        self._noted_dead = present.keys() - alive.keys()
        new, self._children = alive.keys() - self._children.keys(), alive
        if new:
            self._renew()
            self._wakeups.send()  # new processes listen at once, so that the first job is fast too

    def _end_canceled(self) -> None:
        """Kills the processes whose jobs were canceled: a training cannot check for that while it fits."""
        by_owner = {owner_of(self._node, pid): pid for pid in self._children}
        stopped, wakeups = self._ledger.stop_canceled(self._kind, list(by_owner))
        if stopped:
            log.info("ending %d worker processes whose jobs were canceled", len(stopped))
            _kill(by_owner[owner] for owner in stopped)
        self._wakeup_sender.send(wakeups)

    def _request_load_reports(self) -> None:
        """Wakes idle processes while some worker cannot load a version; they report whether they can."""
        self._next_load_report = time.monotonic() + LOAD_REPORT_INTERVAL
        if self._notes.unloadable(self._kind):
            self._wakeups.send()

    def _queue_report(self, call: Callable[[str, str], Wakeups], pid: int) -> None:
        self._queued_reports.append(lambda: call(self._kind, owner_of(self._node, pid)))

    def _flush(self) -> None:
        """Sends the queued reports in order; one that Redis did not accept stays in the queue."""
        with self._flushing:
            while self._queued_reports:
                self._wakeup_sender.send(self._queued_reports[0]())
                self._queued_reports.pop(0)

    def _renew(self) -> None:
        settings = self._ledger.settings
        owners = [owner_of(self._node, pid) for pid in self._children]
        held, starved = self._ledger.renew(self._kind, owners)
        self._next_renewal = time.monotonic() + min(settings.lease / RENEWALS_PER_LEASE, MAX_RENEWAL_INTERVAL)
        if self._drain_until is None:
            self._check_for_stall(held, starved)

    def _check_for_stall(self, held: int, starved: float) -> None:
        """Sends a local wakeup if jobs wait without a worker. If the broker has messages but none arrives, the consumer has
        stalled: the worker exits with status 1, to be started again by whatever runs it."""
        now = time.monotonic()
        if starved > RESCUE_TIMEOUT:
            self._wakeups.send()
            self._unannounced_since = self._unannounced_since or now - starved
        if held == 0 and self._unannounced_since and now - self._unannounced_since > self._ledger.settings.stall:
            if self._wakeup_sender.waiting(self._kind):
                log.critical("messages wait in the broker, and none has arrived: the consumer has stalled, restarting")
                self._exit(1)
            self._unannounced_since = None

    def _abort_drain(self) -> None:
        log.warning("claimed jobs take longer than the drain time: returning them")
        _kill(self._children)  # first, so that they make no further claim
        for pid in self._children:
            self._queue_report(self._ledger.owner_left, pid)
        try:
            self._flush()
        except LedgerError as error:
            log.error("the jobs could not be returned, their leases will expire: %s", error)
        self._exit(0)

    def _exit(self, status: int) -> None:
        _kill(self._children)
        logging.shutdown()
        os._exit(status)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
