"""Many who ask for iris at once, and the oracle: what the stored file of each version says when it is asked here."""

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
    """A row, and what each version says of it."""

    row: Row
    labels: dict[int, str]


@dataclass
class Answered:
    status: int
    body: dict[str, Any]
    question: Question

    @property
    def version(self) -> int:
        found: int = self.body["model"]["version"]
        return found

    @property
    def accepted_at(self) -> int:
        """Milliseconds on Redis's clock, as the times of the moves are."""
        return round(datetime.fromisoformat(self.body["created_at"]).timestamp() * 1000)


@dataclass
class Crowd:
    """So many connections that ask for one prediction after another until the block is over."""

    url: str
    questions: list[Question]
    connections: int = CONNECTIONS
    answers: list[Answered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._turns = count()
        self._pool = ThreadPoolExecutor(self.connections)

    def __enter__(self) -> "Crowd":
        self._asking = [self._pool.submit(self._ask_on) for _ in range(self.connections)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def check(self) -> None:
        """Raises what a connection has met: a refused one, a closed one, an answer that never came, or was wrong."""
        for asking in self._asking:
            asking.result()
        assert self.answers
        assert {(told.status, told.body["status"]) for told in self.answers} == {(200, "succeeded")}
        for told in self.answers:
            assert told.body["result"]["prediction"] == told.question.labels[told.version]

    def _ask_on(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                question = self.questions[next(self._turns) % len(self.questions)]
                told = session.post(f"{self.url}/predict", json=question.row, headers={"Prefer": "wait=20"}, timeout=30)
                self.answers.append(Answered(told.status_code, told.json(), question))


def flowers() -> list[Row]:
    """The rows of iris, each once."""
    frame = read(packaged_csv("iris") or b"", "csv").frame.drop(columns="species").drop_duplicates()
    return [dict(zip(frame.columns, map(float, row), strict=True)) for row in frame.to_numpy(float)]


def questions_of(pieces: Pieces, *versions: int) -> list[Question]:
    """The rows of iris, and what the stored files of the versions say of them when asked here."""
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
