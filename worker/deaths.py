"""How a worker process died, and the error of a job that was claimed alone each time its process died."""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jobs.failures import Failure
from jobs.job import Kind
from worker.memory import Memory

KILL_WINDOW = 5.0  # seconds between the kernel's kill of a process and our noticing it
REAP_TIMEOUT = 0.1  # seconds from reaping a process until Celery has stored its exit status
LARGE_SHARE = 0.5  # share of all memory that makes a killed process suspect
ADVICE = {
    Kind.TRAIN: "train on fewer rows or with a smaller estimator, or give the train worker more memory",
    Kind.PREDICT: "predict fewer rows at once or with a smaller model, or give the predict worker more memory",
}


@dataclass(frozen=True)
class Death:
    """``signal`` or ``status`` (the exit status) is set; neither is if the cause is unknown."""

    signal: int | None = None
    status: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            names = {int(known): known.name for known in signal.Signals}
            return f"it was killed by {names.get(self.signal, f'signal {self.signal}')}"
        return "it is not known how" if self.status is None else f"it exited with status {self.status}"


def death_of(process: Any) -> Death | None:
    """The death of a process of Celery's pool; None while it lives. It works also while Celery is busy reconnecting and has not
    reaped the process."""
    try:
        end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _death_of_reaped(process)
    if end is None:
        return None
    return Death(status=end.si_status) if end.si_code == os.CLD_EXITED else Death(signal=end.si_status)


def _death_of_reaped(process: Any) -> Death:
    """Waits a moment for the exit status, which Celery stores after it has reaped the process."""
    end = time.monotonic() + REAP_TIMEOUT
    while (code := process._popen.returncode) is None and time.monotonic() < end:
        time.sleep(REAP_TIMEOUT / 20)
    return Death(signal=-code) if code is not None and code < 0 else Death(status=code)


DIED = "The worker process died each time it worked on this job"


class Deaths:
    """Samples the memory of the live processes of a kind, so that a death can be explained."""

    def __init__(self, kind: str, memory: Memory) -> None:
        self._kind = kind
        self._memory = memory
        self._peak_sizes: dict[int, int] = {}
        self._kills = memory.kills()
        self._last_kill = float("-inf")

    def observe(self, pids: Iterable[int]) -> None:
        """To be called several times a second: the kernel forgets the size of a process when it dies."""
        kills = self._memory.kills()
        if kills != self._kills:
            self._kills, self._last_kill = kills, time.monotonic()
        for pid in pids:
            if (size := self._memory.peak_size(pid)) is not None:
                self._peak_sizes[pid] = size

    def reason(self, pid: int, death: Death) -> bytes:
        """The error (JSON) of a job that fails because processes have died repeatedly while they worked on it. The processes that
        we kill ourselves hold no job any more, so a SIGKILL comes from outside: mostly from the kernel, for lack of memory."""
        size, limit = self._peak_sizes.pop(pid, None), self._memory.limit()
        lacked_memory = time.monotonic() - self._last_kill < KILL_WINDOW or (size and limit and size > LARGE_SHARE * limit)
        if death.signal != signal.SIGKILL or not lacked_memory:
            return _error("worker-died", f"{DIED}, most recently because {death}.")
        grown = f": it had grown to at least {_gigabytes(size)} of the {_gigabytes(limit)} there are" if size and limit else ""
        advice = ADVICE.get(Kind(self._kind), "give the worker more memory")
        return _error("out-of-memory", f"{DIED}, most recently killed for want of memory, most likely{grown}. You can {advice}.")


def _error(type_: str, detail: str) -> bytes:
    return Failure(type_, detail).to_json()


def _gigabytes(size: int) -> str:
    gigabytes = size / 1e9
    return f"{gigabytes:.{2 if gigabytes < 1 else 1 if gigabytes < 10 else 0}f} GB"
