"""Many clients that predict iris, and the oracle: the predictions of the stored file of each version."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import requests

from modeler import artifact
from modeler.table import read
from models.packaged import packaged_csv
from models.registry import Registry
from models.signing import signing_key
from tests.processes import Pieces

CONNECTIONS = 32

Row = dict[str, float]


@dataclass(frozen=True)
class Question:
    """A row and the prediction of each version."""

    row: Row
    labels: dict[int, str]


@dataclass
class CrowdResponse:
    status: int
    body: dict[str, Any]
    question: Question

    @property
    def version(self) -> int:
        found: int = self.body["model"]["version"]
        return found

    @property
    def accepted_at(self) -> int:
        """Return milliseconds on Redis's clock, as in the log of moves."""
        return round(datetime.fromisoformat(self.body["created_at"]).timestamp() * 1000)


@dataclass
class Crowd:
    """Connections that each send one prediction after another until the block ends."""

    url: str
    questions: list[Question]
    connections: int = CONNECTIONS
    answers: list[CrowdResponse] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._turns = count()
        self._pool = ThreadPoolExecutor(self.connections)

    def __enter__(self) -> "Crowd":
        self._asking = [self._pool.submit(self._predict_on) for _ in range(self.connections)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def check(self) -> None:
        """Raise the errors of the connections: refused, closed, unanswered, or answered wrongly."""
        for asking in self._asking:
            asking.result()
        assert self.answers
        assert {(response.status, response.body["status"]) for response in self.answers} == {(200, "succeeded")}
        for response in self.answers:
            assert response.body["result"]["prediction"] == response.question.labels[response.version]

    def _predict_on(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                question = self.questions[next(self._turns) % len(self.questions)]
                response = session.post(f"{self.url}/predict", json=question.row, headers={"Prefer": "wait=20"}, timeout=30)
                self.answers.append(CrowdResponse(response.status_code, response.json(), question))


def flowers() -> list[Row]:
    """Return the distinct rows of iris."""
    frame = read(packaged_csv("iris") or b"", "csv").frame.drop(columns="species").drop_duplicates()
    return [dict(zip(frame.columns, map(float, row), strict=True)) for row in frame.to_numpy(float)]


def questions_of(pieces: Pieces, *versions: int) -> list[Question]:
    """Return the rows of iris and the predictions of the stored files of the versions."""
    rows = flowers()
    numbers = [list(row.values()) for row in rows]
    said = {version: estimator_of(pieces, version).predict(numbers).tolist() for version in versions}
    return [Question(row, {version: said[version][place] for version in versions}) for place, row in enumerate(rows)]


def estimator_of(pieces: Pieces, version: int) -> Any:
    ledger = pieces.ledger
    card = Registry(ledger.redis, ledger.prefix, ledger.guard).card("iris", version)
    assert card is not None
    return artifact.load(artifact.open_artifact_store(pieces.settings.store_location, key_of(pieces)), card)


def key_of(pieces: Pieces) -> bytes:
    return signing_key(pieces.settings.home_path, pieces.settings.signing_key)
