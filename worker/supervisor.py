"""Kept by Celery's parent process, which never calls a model and so is never held up by one: the leases of its
children, what becomes of the work of one that died or ran over its limit, the drain, and the watch for a stall."""

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
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender
from worker.deaths import Death, Deaths, death_of
from worker.local_wakeups import LocalWakeups
from worker.memory import Memory

log = logging.getLogger("mldeploy.keeper")

TICK = 0.25  # seconds; a dead child's work waits no longer than this
RENEWALS = 5  # in one lease
MAX_UNRENEWED = 1.0  # seconds between two looks at the ledger
LOOK_INTERVAL = 4.0  # seconds between two looks at what could not be loaded
RESCUED_AFTER = 0.5  # seconds that work waits with nobody at it


def new_node() -> str:
    """A name for one worker parent, unlike that of any before it."""
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
        self._wakeup_sender = wakeup_sender
        self._wakeups = wakeups
        self._start_draining = start_draining
        self._pool: Any = None
        self._children: dict[int, Any] = {}  # Celery's processes by their ids
        self._noted_dead: set[int] = set()  # and still in Celery's list
        self._deaths = Deaths(kind, Memory())
        self._timed_out: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
        self._queued_reports: list[Callable[[], Wakeups]] = []  # what Redis must still be told
        self._flushing = threading.Lock()
        self._next_renewal = 0.0
        self._next_look = 0.0
        self._unheard_since: float | None = None  # since when work has waited that no message told of
        self._last_outage = float("-inf")
        self._drain_until: float | None = None

    # Called by Celery's signals, in the main thread

    def start(self, consumer: Any) -> None:
        """Once the consumer is connected and the pool runs; again after each reconnection."""
        self._unheard_since = None
        self._wakeups.start(consumer)
        if self._pool is None:
            self._pool = consumer.controller.pool
            threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def heard(self) -> None:
        """A knock has arrived."""
        self._unheard_since = None

    def timed_out(self, pid: int, started: float) -> None:
        """Celery is about to kill a child that ran over its hard limit; ``started`` is on the monotonic clock."""
        self._timed_out.put((pid, started))

    def drain(self) -> None:
        """No new claims; work in hand is finished, or given back when ``drain`` seconds are over."""
        self._start_draining()
        self._drain_until = time.monotonic() + self._ledger.settings.drain

    def owner_left(self) -> None:
        """All children have stopped."""
        for pid in self._children:
            self._queue_report(self._ledger.owner_left, pid)
        self._flush()

    # The thread

    def _keep(self) -> None:
        while True:
            try:
                self._tick()
            except LedgerError as error:
                self._last_outage = time.monotonic()
                log.warning("the ledger is away: %s", error)
            except Exception:
                log.exception("a round failed; the next one tries again")
            time.sleep(TICK)

    def _tick(self) -> None:
        self._note_timeouts()
        self._note_deaths()
        self._flush()
        if self._kind == Kind.TRAIN:
            self._stop_canceled()
        if self._kind == Kind.PREDICT and time.monotonic() >= self._next_look:
            self._have_loads_reported()
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            self._give_up()
        if time.monotonic() >= self._next_renewal:
            self._renew()

    def _note_timeouts(self) -> None:
        while not self._timed_out.empty():
            pid, started = self._timed_out.get()
            innocent = self._last_outage > started  # it may have waited for Redis, not for the model
            self._queue_report(self._ledger.release if innocent else self._ledger.time_out, pid)

    def _note_deaths(self) -> None:
        processes = self._pool._pool and self._pool._pool._pool  # gone when the pool has stopped
        there = {process.pid: process for process in list(processes or ())}
        self._deaths.look(there)
        alive = {pid: process for pid, process in there.items() if death_of(process) is None}
        known = {**self._children, **there}
        for pid in known.keys() - alive.keys() - self._noted_dead:
            death = death_of(known[pid]) or Death()
            log.warning("worker process %d has died: %s", pid, death)
            self._queue_report(partial(self._ledger.owner_died, error=self._deaths.reason(pid, death)), pid)
            self._wakeups.free_place()
        self._noted_dead = there.keys() - alive.keys()
        new, self._children = alive.keys() - self._children.keys(), alive
        if new:
            self._renew()
            self._wakeups.send()  # they listen from the start, so that the first job finds them as the thousandth does

    def _stop_canceled(self) -> None:
        """A training looks for nothing while it fits: its process is ended."""
        by_owner = {owner_of(self._node, pid): pid for pid in self._children}
        stopped, wakeups = self._ledger.stop_canceled(self._kind, list(by_owner))
        if stopped:
            log.info("ending %d worker processes whose jobs were canceled", len(stopped))
            _kill(by_owner[owner] for owner in stopped)
        self._wakeup_sender.send(wakeups)

    def _have_loads_reported(self) -> None:
        """While some worker cannot load a version, the processes look whether they can (see load_reports), also idle ones."""
        self._next_look = time.monotonic() + LOOK_INTERVAL
        if self._ledger.unloadable(self._kind):
            self._wakeups.send()

    def _queue_report(self, call: Callable[[str, str], Wakeups], pid: int) -> None:
        self._queued_reports.append(lambda: call(self._kind, owner_of(self._node, pid)))

    def _flush(self) -> None:
        """In order, and each until Redis has heard it."""
        with self._flushing:
            while self._queued_reports:
                self._wakeup_sender.send(self._queued_reports[0]())
                self._queued_reports.pop(0)

    def _renew(self) -> None:
        settings = self._ledger.settings
        owners = [owner_of(self._node, pid) for pid in self._children]
        held, starved = self._ledger.renew(self._kind, owners)
        self._next_renewal = time.monotonic() + min(settings.lease / RENEWALS, MAX_UNRENEWED)
        if self._drain_until is None:
            self._look_for_a_stall(held, starved)

    def _look_for_a_stall(self, held: int, starved: float) -> None:
        """Work that waits with nobody at it is begun here, without a message. If none arrives although the broker has some, the
        consumer has stalled."""
        now = time.monotonic()
        if starved > RESCUED_AFTER:
            self._wakeups.send()
            self._unheard_since = self._unheard_since or now - starved
        if held == 0 and self._unheard_since and now - self._unheard_since > self._ledger.settings.stall:
            if self._wakeup_sender.waiting(self._kind):
                log.critical("messages wait in the broker, and none has arrived: the consumer has stalled, restarting")
                self._end(1)
            self._unheard_since = None

    def _give_up(self) -> None:
        log.warning("work in hand takes longer than the drain: given back")
        _kill(self._children)  # first, so that they claim nothing more
        for pid in self._children:
            self._queue_report(self._ledger.owner_left, pid)
        try:
            self._flush()
        except LedgerError as error:
            log.error("could not give it back, its lease will run out: %s", error)
        self._end(0)

    def _end(self, status: int) -> None:
        _kill(self._children)
        logging.shutdown()
        os._exit(status)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
