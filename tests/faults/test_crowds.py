"""Thousands of idle connections and bodies that never end: other clients are answered all the while."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest
import requests

from tests.poison import expected, row
from tests.processes import ROOT, Pieces
from tests.wire import is_answered

Assemble = Callable[..., Pieces]

BODIES = 26
PAUSE = 0.05  # seconds between two requests of one client
SLOWEST = 5.0  # seconds


@contextmanager
def crowd(port: int, idle: int, half_open: int, bodies: int) -> Iterator[list[str]]:
    """Hold these connections during the block; its output can be read afterwards."""
    command = [sys.executable, "-m", "tests.faults.crowd_of_connections", *map(str, (port, idle, half_open, bodies))]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "all came\n"
        yield said
        said += process.communicate("", timeout=20)[0].split()
    finally:
        process.kill()
        process.wait()


@dataclass
class Asking:
    """One client that sends requests one after another, and the seconds that each took."""

    send: Callable[[int], bool]
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = Event()
        self._thread = Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    @property
    def p95(self) -> float:
        """Return the 95th percentile in seconds."""
        return sorted(self.times)[int(0.95 * len(self.times))]

    def _go_on(self) -> None:
        number = 0
        while not self._over.wait(PAUSE):
            number, since = number + 1, time.monotonic()
            try:
                if not self.send(number):
                    self.failures.append("a wrong answer")
            except (OSError, EOFError) as error:
                self.failures.append(repr(error))
            self.times.append(time.monotonic() - since)


@contextmanager
def asking(pieces: Pieces) -> Iterator[dict[str, Asking]]:
    """Run clients from an address of their own: health checks over new connections, predictions over kept and new ones."""
    kept = requests.Session()
    with (
        Asking(lambda _: is_answered(pieces.settings.port)) as health,
        Asking(lambda number: is_predicted(kept, pieces.url, number)) as staying,
        Asking(lambda number: is_predicted(requests.Session(), pieces.url, number)) as coming,
        kept,
    ):
        yield {"health": health, "predictions": staying, "predictions over new connections": coming}


def is_predicted(client: requests.Session, url: str, number: int) -> bool:
    headers = {"Prefer": "wait=10"}
    answer = client.post(f"{url}/predict?model=poison", json=row(number), headers=headers, timeout=20)
    return bool(answer.status_code == 200 and answer.json()["result"]["prediction"] == expected(number))


@pytest.mark.slow
def test_idle_half_open_and_slow_clients_delay_nobody_else(assemble: Assemble, chaos: bool, figures: list[str]) -> None:
    seconds, idle, half_open = (120.0, 5000, 1000) if chaos else (8.0, 1500, 300)
    pieces = assemble()
    pieces.worker()
    with asking(pieces) as alone:
        time.sleep(min(seconds, 10) / 2)  # the time measured
    with crowd(pieces.settings.port, idle, half_open, BODIES) as said, asking(pieces) as beside:
        time.sleep(seconds)  # the time measured
    for what, client in beside.items():
        figures.append(
            f"crowd of {idle} idle, {half_open} half-open, {BODIES} slow bodies for {seconds:g} s ({said[0]} closed): {what}: "
            f"{len(client.times)} requests, {len(client.failures)} failed, p95 {1000 * client.p95:.0f} ms, slowest "
            f"{1000 * max(client.times):.0f} ms; without the crowd p95 {1000 * alone[what].p95:.0f} ms"
        )
    for what, client in beside.items():
        assert not client.failures, (what, client.failures[:3])
        assert len(client.times) > seconds
        assert max(client.times) < SLOWEST, what


@pytest.mark.slow
def test_connections_beyond_the_limit_make_room_for_new_clients(assemble: Assemble, chaos: bool, figures: list[str]) -> None:
    """Three times as many connections as the limit are open."""
    seconds = 60.0 if chaos else 6.0
    pieces = assemble(api_connections=300, api_connections_per_address=200)
    pieces.worker()
    with crowd(pieces.settings.port, 700, 200, BODIES) as said, asking(pieces) as beside:
        time.sleep(seconds)  # the time measured
    for what, client in beside.items():
        figures.append(
            f"926 clients for 300 places, {seconds:g} s ({said[0]} closed): {what}: {len(client.times)} requests, "
            f"{len(client.failures)} failed, p95 {1000 * client.p95:.0f} ms"
        )
        assert not client.failures, (what, client.failures[:3])
        assert max(client.times) < SLOWEST, what
