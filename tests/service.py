"""`mldeploy up` as a process, as people start it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import psutil

import parent_death
from jobs.ledger import Ledger
from settings import Settings
from tests.processes import ROOT, free_port

MARKS = {  # of the command line of each part
    "redis": "-server unixsocket:",
    "reconciler": "jobs.reconciler",
    "predict": "worker predict",
    "train": "worker train",
    "webhook": "worker.webhooks",
    "api": "-m api",
}
NAMES = tuple(MARKS)


class Service:
    def __init__(self, home: Path, port: int = 0, **settings: Any) -> None:
        self.home = home
        self.settings = Settings(home=str(home), port=port or free_port(), lease=5.0).replace(**settings)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        tied = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), sys.executable, "-m", "mldeploy", "up"]
        environment = self.settings.environment() | {"PYTHONPATH": str(ROOT)}  # where the model of tests/poison.py is from
        self.popen = subprocess.Popen(
            tied, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.popen.stdout is not None
        self.said_before: list[str] = []
        self.ready_line = self._read_until_ready(self.popen.stdout)

    def _read_until_ready(self, out: IO[str]) -> str:
        for line in out:
            if "is ready at" in line or "is up at" in line:
                return line
            self.said_before.append(line)
        self._wait(20)
        raise AssertionError("".join(self.said_before))

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.replace(home=str(self.home)).with_embedded_redis())

    def children(self) -> dict[str, psutil.Process]:
        """Return our direct children by the name of their part."""
        found = {}
        for child in psutil.Process(self.popen.pid).children():
            try:
                line = " ".join(child.cmdline())
            except psutil.NoSuchProcess:  # or a zombie
                continue
            for name, mark in MARKS.items():
                if mark in line and "parent_death.py" not in line:
                    found[name] = child
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.popen.pid).children(recursive=True)

    def kill(self) -> None:
        """Kill `up` itself with -9, and nothing else."""
        self.popen.send_signal(signal.SIGKILL)
        self._wait(10)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self._wait(20)

    def _wait(self, seconds: float) -> int:
        status = self.popen.wait(seconds)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return status
