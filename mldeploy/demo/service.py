"""Runs `mldeploy up` in its own process while the demo runs."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import parent_death
from mldeploy.demo.conversation import DemoFailed
from mldeploy.demo.page import Page
from settings import Settings

READY = "is ready at "  # in the line that `mldeploy up` prints then …
NOT_READY = "is up at "  # … or if the service has a problem
IDLE_INTERVAL = 1.0  # seconds


class Service:
    def __init__(self, process: subprocess.Popen[bytes], page: Page) -> None:
        assert process.stdout is not None
        self._waiting = page.waiting("starting the service")
        self._lines = _lines(process.stdout, self._waiting.show)
        self._page = page
        self.url = self._read_until_ready()

    def follow(self) -> None:
        """Shows the service's output until it ends."""
        for line in self._lines:
            self._page.plain(line)

    def _read_until_ready(self) -> str:
        """Raises DemoFailed."""
        for line in self._lines:
            self._waiting.done()
            self._page.plain(line)
            if READY in line:
                return line.partition(READY)[2].split()[0]
            if NOT_READY in line:
                raise DemoFailed("the service is not ready; see above")
        raise DemoFailed("the service did not start; see above")


@contextmanager
def running_service(settings: Settings, page: Page) -> Iterator[Service]:
    """Runs the service until the block ends or Ctrl-C. Raises DemoFailed."""
    command = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), sys.executable, "-P", "-m", "mldeploy", "up"]
    process = subprocess.Popen(command, env=settings.environment(), stdout=subprocess.PIPE)
    try:
        yield Service(process, page)
    except KeyboardInterrupt:
        page.plain("stopping")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _lines(stream: IO[bytes], on_idle: Callable[[], None]) -> Iterator[str]:
    """Calls ``on_idle`` after each second without a line."""
    rest = b""
    while True:
        if not select.select([stream], [], [], IDLE_INTERVAL)[0]:
            on_idle()
            continue
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
