"""Redis's clock is set back and forward under load: nothing stalls for longer than a lease or expires early."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jobs.job import State
from jobs.ledger import Ledger
from settings import Settings
from tests.conftest import FAST
from tests.faults.load import Load, settle
from tests.poison import publish, row
from tests.processes import Pieces, until
from tests.server_clock import ServerClock

LONG = 30  # seconds until a job expires, none of which pass while its lane is full of others


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[tuple[Pieces, ServerClock]]:
    pieces = Pieces(Settings().replace(**FAST), tmp_path / "clocked")
    clock = ServerClock(pieces.folder)
    try:
        pieces.redis(clock.environment)
        publish(pieces)
        pieces.reconciler()
        pieces.api()
        yield pieces, clock
    finally:
        pieces.stop()


class Ends:
    """Measures the longest time in which no job ended."""

    def __init__(self, ledger: Ledger) -> None:
        self._channel = ledger.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._channel.subscribe(ledger.finals_channel)
        self._over = threading.Event()
        self.longest_gap = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Ends":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._channel.close()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._over.is_set():
            message = self._channel.get_message(timeout=0.1)
            self.longest_gap = max(self.longest_gap, time.monotonic() - last)
            if message:
                last = time.monotonic()


def test_setting_the_clock_under_load_stalls_and_expires_nothing(
    clocked: tuple[Pieces, ServerClock], chaos: bool, figures: list[str]
) -> None:
    pieces, clock = clocked
    groups = [pieces.worker(name=name) for name in "AB"]
    dated = [submit(pieces, number, expires_in=LONG) for number in range(900_000, 900_010)]
    until(lambda: pieces.ledger.waiting("predict.small") == 0, 20, "the first are done")
    with Load(pieces.url, seconds=0.01) as load, Ends(pieces.ledger) as ends:
        for turn, seconds in enumerate((-600, 600, 0, -600) * (5 if chaos else 1)):
            clock.set(seconds)
            dated.append(submit(pieces, 900_100 + turn, expires_in=LONG))
            groups[turn % 2].kill()  # its lease began before the step, and its work waits until that ends
            groups[turn % 2] = pieces.worker(name="AB"[turn % 2])
            time.sleep(3)  # under load with this clock
    took = settle(load, within=pieces.settings.lease + 10)
    states = {record.state for record in pieces.ledger.get_many(dated) if record}
    figures.append(
        f"clock set by 600 s under load: {len(load.accepted)} accepted, {dict(load.refused)} refused, 0 lost, no end for "
        f"{ends.longest_gap:.1f} s at most (lease {pieces.settings.lease:g} s), settled after {took:.1f} s"
    )
    assert states == {State.SUCCEEDED}
    assert ends.longest_gap < pieces.settings.lease
    assert load.refused.total() < len(load.accepted) / 20


def submit(pieces: Pieces, number: int, expires_in: float) -> str:
    """Submit a job, and again while it is refused."""
    url = f"{pieces.url}/predict?model=poison&expires_in={expires_in}"
    for _ in range(20):
        answer = requests.post(url, json=row(number), timeout=10)
        if answer.status_code == 202:
            return str(answer.json()["id"])
        assert answer.status_code == 503, answer.text
    raise AssertionError("refused again and again")
