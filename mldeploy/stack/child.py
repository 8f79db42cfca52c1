"""One process of the stack: started tied to us, watched, restarted with back-off, stopped with its whole family."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import tether

LONGEST_PAUSE = 5.0
WELL_AFTER = 10.0  # seconds up; then the next death counts as the first
LARGEST_LOG = 10_000_000


class Child:
    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.deaths = 0
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """In a session of its own, so that Ctrl-C reaches us alone; tied to us, so that it dies with us."""
        self._rotate_log()
        tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self._command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tied, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._started = time.monotonic()

    def supervise(self) -> int | None:
        """Start it again if it has died, after a pause that doubles; its exit status when it is found dead."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return None
        status = self._process.poll()
        if status is None:
            self._rotate_log()
            return None
        self.deaths = 1 if time.monotonic() - self._started > WELL_AFTER else self.deaths + 1
        self._process = None
        self._start_at = time.monotonic() + min(0.1 * 2 ** min(self.deaths - 1, 10), LONGEST_PAUSE)
        return status

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> bool:
        """Whether it ended in time; if not, it and its family are killed. ``deadline`` is on the monotonic clock."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._kill_family()

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def _kill_family(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):  # all gone already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the process goes on writing at its end
