"""L4: predictions beside a training, in turns with predictions alone."""

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
    """So many connections that each ask for one prediction after another, for a time."""

    url: str
    seconds: list[float] = field(default_factory=list)

    def ask_for(self, duration: float) -> float:
        """The p95 of the waits."""
        self.seconds, self._end = [], time.monotonic() + duration
        threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]

    def _ask(self) -> None:
        session, row = requests.Session(), flowers()[0]
        while time.monotonic() < self._end:
            since = time.monotonic()
            answer = session.post(f"{self.url}/predict", json=row, headers={"Prefer": "wait=20"}, timeout=30)
            assert answer.json()["status"] == "succeeded", answer.text
            self.seconds.append(time.monotonic() - since)
            time.sleep(PAUSE)


def test_l4_training_beside_predictions(stopped: Pieces, chaos: bool, tell: list[str]) -> None:
    pieces, turns, duration = stopped, 5 if chaos else 1, 10.0 if chaos else 3.0
    pieces.all()
    client, clients = Client(pieces.url), Clients(pieces.url)
    client.train(model="iris").wait(60)
    clients.ask_for(1)
    idle, beside = list[float](), list[float]()
    for _ in range(turns):
        idle.append(clients.ask_for(duration))
        training = client.train(model="iris", estimator="RandomForestClassifier", search=SEARCH, promote="never")
        until(lambda: training.reload().status == "running", 20, "it trains")  # noqa: B023
        beside.append(clients.ask_for(duration))
        assert training.reload().status == "running"
        training.cancel()
        until(lambda: training.reload().done, 20, "it has been stopped")  # noqa: B023
    ratio = sorted(beside)[turns // 2] / sorted(idle)[turns // 2]
    tell.append(
        f"L4: {turns} turns of {duration:g} s, {CLIENTS} clients: p95 alone {told(idle)}, beside a training {told(beside)}: "
        f"{ratio:.2f} times"
    )
    if chaos:
        assert ratio < SLOWEST


def told(seconds: list[float]) -> str:
    return f"{', '.join(f'{1000 * each:.1f}' for each in seconds)} ms"
