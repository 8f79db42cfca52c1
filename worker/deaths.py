"""How a worker process died, and what that says of a job that it had alone each time it died."""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec import json

from jobs.job import Kind
from worker.failure_messages import Failure
from worker.memory import Memory

KILL_WINDOW = 5.0  # seconds from the kernel's killing a process until it is found dead
REAP_TIMEOUT = 0.1  # seconds from reaping a process until Celery has noted how it ended
LARGE = 0.5  # share of all memory that makes a killed process suspect
LESS = {
    Kind.TRAIN: "train on fewer rows or with a smaller estimator, or give the train worker more memory",
    Kind.PREDICT: "predict fewer rows at once or with a smaller model, or give the predict worker more memory",
}


@dataclass(frozen=True)
class Death:
    """By a signal, or with an exit status; neither if that is not known."""

    signal: int | None = None
    status: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            names = {int(known): known.name for known in signal.Signals}
            return f"it was killed by {names.get(self.signal, f'signal {self.signal}')}"
        return "it is not known how" if self.status is None else f"it exited with status {self.status}"


def death_of(process: Any) -> Death | None:
    """Of a process of Celery's pool; None while it lives. Seen also while Celery, which reaps it, is busy reconnecting."""
    try:
        end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _reaped(process)
    if end is None:
        return None
    return Death(status=end.si_status) if end.si_code == os.CLD_EXITED else Death(signal=end.si_status)


def _reaped(process: Any) -> Death:
    """As Celery notes it, a moment after it has reaped it."""
    end = time.monotonic() + REAP_TIMEOUT
    while (code := process._popen.returncode) is None and time.monotonic() < end:
        time.sleep(REAP_TIMEOUT / 20)
    return Death(signal=-code) if code is not None and code < 0 else Death(status=code)


DIED = "The worker process died each time it worked on this job"


class Deaths:
    """Looks at the processes of a kind while they live, to have a reason when they die."""

    def __init__(self, kind: str, memory: Memory) -> None:
        self._kind = kind
        self._memory = memory
        self._sizes: dict[int, int] = {}
        self._kills = memory.kills()
        self._last_kill = float("-inf")

    def look(self, pids: Iterable[int]) -> None:
        """Several times a second: the kernel keeps no size of a process that has died."""
        kills = self._memory.kills()
        if kills != self._kills:
            self._kills, self._last_kill = kills, time.monotonic()
        for pid in pids:
            if (size := self._memory.largest(pid)) is not None:
                self._sizes[pid] = size

    def reason(self, pid: int, death: Death) -> bytes:
        """The error (JSON) of a job that failed because this process died as others did before. What we kill ourselves has no job
        any more, so a SIGKILL is another's: mostly the kernel's, for want of memory."""
        size, limit = self._sizes.pop(pid, None), self._memory.limit()
        lacked_memory = time.monotonic() - self._last_kill < KILL_WINDOW or (size and limit and size > LARGE * limit)
        if death.signal != signal.SIGKILL or not lacked_memory:
            return _error("worker-died", f"{DIED}, most recently because {death}.")
        grown = f": it had grown to at least {_gigabytes(size)} of the {_gigabytes(limit)} there are" if size and limit else ""
        advice = LESS.get(Kind(self._kind), "give the worker more memory")
        return _error("out-of-memory", f"{DIED}, most recently killed for want of memory, most likely{grown}. You can {advice}.")


def _error(type_: str, detail: str) -> bytes:
    return json.encode(Failure(type_, detail))


def _gigabytes(size: int) -> str:
    gigabytes = size / 1e9
    return f"{gigabytes:.{2 if gigabytes < 1 else 1 if gigabytes < 10 else 0}f} GB"
