"""One process of the service: dies with its parent, is restarted with back-off, and is stopped with its process group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import parent_death
from mldeploy.local.log_file import LogFile

MAX_PAUSE = 5.0  # seconds between two starts
MIN_UPTIME = 10.0  # seconds after which the next death counts as the first
ROTATION_RETRY_INTERVAL = 10.0  # seconds after a rotation that failed
FAILURES = (OSError, subprocess.SubprocessError, MemoryError)  # no process, memory, descriptor, disk space or permission


class Child:
    """``expendable``: whether the kernel may end it before those that are not, when memory runs out. ``say`` prints a
    message: each problem is reported once, not at every attempt."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        log: LogFile,
        say: Callable[[str], None],
        *,
        expendable: bool,
    ) -> None:
        self.name = name
        self.log = log
        self.failures = 0  # in a row: deaths and failed starts
        self._command = [*([parent_death.EXPENDABLE] if expendable else []), *command]
        self._environment = environment
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._rotate_at = 0.0
        self._not_started = ""  # why
        self._reported: set[str] = set()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def supervise(self) -> None:
        """Starts the process, restarts it after a growing pause if it has died, and rotates its log. Failures are retried, never
        raised, so that they do not affect other processes."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
        elif (status := self._process.poll()) is None:
            self._rotate_log()
        else:
            self._note_death(status)

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> bool:
        """Whether the process ended in time. What is left of its process group is killed in any case. ``deadline``: on the
        monotonic clock."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._kill_group()

    def last_lines(self) -> str:
        """The reason why the process does not run, or the last lines of its log."""
        return self._not_started or self.log.last_lines()

    def _start(self) -> None:
        """Starts it in its own session, so that it does not receive Ctrl-C, and so that it dies with its parent."""
        tied = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *self._command]
        log = self._open_log()
        try:
            self._process = subprocess.Popen(
                tied, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except FAILURES as error:
            self._failed()
            self._not_started = str(error)
            self._report("start", f"{self.name} cannot be started ({error}): it is tried again every few seconds")
            return
        self._started, self._not_started = time.monotonic(), ""
        self._report_end("start", f"{self.name} runs again")

    def _open_log(self) -> int:
        try:
            descriptor = self.log.open()
        except FAILURES as error:
            self._report(
                "log", f"the log of {self.name} cannot be opened ({error}): it runs without one until it is started anew"
            )
            return subprocess.DEVNULL
        self._report_end("log", f"{self.name} has a log again")
        return descriptor

    def _note_death(self, status: int) -> None:
        if time.monotonic() - self._started > MIN_UPTIME:
            self.failures = 0
        self._process = None
        self._failed()
        if self.failures & (self.failures - 1) == 0:  # reported for the first, second, fourth, eighth … in a row
            times = f", {self.failures} times in a row" if self.failures > 1 else ""
            self._say(f"{self.name} {_format_exit(status)}{times}: starting it again")

    def _failed(self) -> None:
        self.failures += 1
        self._start_at = time.monotonic() + min(0.1 * 2 ** min(self.failures - 1, 10), MAX_PAUSE)

    def _rotate_log(self) -> None:
        if time.monotonic() < self._rotate_at:
            return
        try:
            rotated = self.log.rotate()
        except FAILURES as error:
            self._rotate_at = time.monotonic() + ROTATION_RETRY_INTERVAL
            self._report("rotation", f"an old log of {self.name} cannot be kept ({error}): only its last lines are")
        else:
            if rotated:
                self._report_end("rotation", f"old logs of {self.name} are kept again")

    def _report(self, what: str, text: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            self._say(text)

    def _report_end(self, what: str, text: str) -> None:
        if what in self._reported:
            self._reported.remove(what)
            self._say(text)

    def _kill_group(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):  # the group has ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _format_exit(status: int) -> str:
    if status >= 0:
        return f"ended (status {status})"
    known = {int(number): number.name for number in signal.Signals}
    return f"was killed ({known.get(-status, -status)})"
