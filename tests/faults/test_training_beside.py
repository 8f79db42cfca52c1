"""Predictions beside a training, in turns with predictions alone."""

import threading
import time
from dataclasses import dataclass, field

import requests

from mldeploy.client import Client
from tests.crowd import flowers
from tests.processes import Pieces, until

CLIENTS = 4
PAUSE = 0.02  # seconds between the requests of a client: it is not the load that is measured
SLOWEST = 1.5  # times the p95 of predictions alone
SEARCH = 600  # seconds that a training would take; it is canceled before


@dataclass
class Clients:
    """Connections that each send one prediction after another for a time."""

    url: str
    seconds: list[float] = field(default_factory=list)

    def measure(self, duration: float) -> float:
        """Return the p95 of the waits in seconds."""
        self.seconds, self._end = [], time.monotonic() + duration
        threads = [threading.Thread(target=self._predict_on, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]

    def _predict_on(self) -> None:
        session, row = requests.Session(), flowers()[0]
        while time.monotonic() < self._end:
            since = time.monotonic()
            answer = session.post(f"{self.url}/predict", json=row, headers={"Prefer": "wait=20"}, timeout=30)
            assert answer.json()["status"] == "succeeded", answer.text
            self.seconds.append(time.monotonic() - since)
            time.sleep(PAUSE)


def test_training_does_not_slow_predictions_down(stopped: Pieces, chaos: bool, figures: list[str]) -> None:
    pieces, turns, duration = stopped, 5 if chaos else 1, 10.0 if chaos else 3.0
    pieces.all()
    client, clients = Client(pieces.url), Clients(pieces.url)
    client.train(model="iris").wait(60)
    clients.measure(1)
    idle, beside = list[float](), list[float]()
    for _ in range(turns):
        idle.append(clients.measure(duration))
        training = client.train(model="iris", estimator="RandomForestClassifier", search=SEARCH, promote="never")
        until(lambda: training.reload().status == "running", 20, "it trains")  # noqa: B023
        beside.append(clients.measure(duration))
        assert training.reload().status == "running"
        training.cancel()
        until(lambda: training.reload().done, 20, "it has been stopped")  # noqa: B023
    ratio = sorted(beside)[turns // 2] / sorted(idle)[turns // 2]
    figures.append(
        f"{turns} turns of {duration:g} s, {CLIENTS} clients: p95 alone {formatted(idle)}, "
        f"beside a training {formatted(beside)}: {ratio:.2f} times"
    )
    if chaos:
        assert ratio < SLOWEST


def formatted(seconds: list[float]) -> str:
    return f"{', '.join(f'{1000 * each:.1f}' for each in seconds)} ms"
