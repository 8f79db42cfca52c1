"""The serving version is moved under load, and every response is right. `make bench` measures what that costs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mldeploy.client import Client, Problem
from modeler import artifact
from settings import Settings
from tests.crowd import Crowd, CrowdResponse, Question, questions_of
from tests.processes import Pieces, until

CONNECTIONS = 32
MOVES = 20
ANSWERS_EACH = 100  # between two moves, at least

Moves = list[dict[str, Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Serve version 1 of iris; version 2 is a stump that does not know one of the three species."""
    pieces = Pieces(Settings(lease=5.0), tmp_path_factory.mktemp("swaps"))
    try:
        pieces.all()
        client = Client(pieces.url)
        assert client.train(model="iris").wait(60)["promoted"]
        assert not train_aside(client)["promoted"]
        yield pieces
    finally:
        pieces.stop()


def train_aside(client: Client) -> dict[str, Any]:
    stump: dict[str, Any] = {"estimator": "DecisionTreeClassifier", "params": {"max_depth": 1}}
    trained: dict[str, Any] = client.train(model="iris", **stump, promote="never").wait(60)
    return trained


def contested(questions: list[Question]) -> list[Question]:
    return [question for question in questions if len(set(question.labels.values())) > 1]


def champions_at(moves: Moves, moment: int) -> set[int]:
    """Return the champions at this moment by the log: two in the millisecond of a move."""
    found = set()
    for move in moves:
        if move["at"] <= moment:
            found.add(move["to_version"])
        if move["at"] < moment:
            break
    return found


def of_another_version(answers: list[CrowdResponse], moves: Moves, late: int = 0) -> list[CrowdResponse]:
    """Return the jobs whose version was not the champion when they were accepted, or ``late`` ms after that."""
    return [response for response in answers if response.version not in champions_at(moves, response.accepted_at + late)]


def move_often(client: Client, crowd: Crowd) -> Moves:
    """Move the champion back and forth under load. Returns the log."""
    back_and_forth: list[Callable[[], Any]] = [lambda: client.promote("iris", 2), lambda: client.rollback("iris")]
    for turn in range(MOVES):
        before = len(crowd.answers)
        back_and_forth[turn % 2]()
        until(lambda: len(crowd.answers) > before + ANSWERS_EACH, 30, "answers go on")  # noqa: B023 - called at once
    moves: Moves = client.model("iris")["moves"]
    return moves


@pytest.mark.slow
def test_each_job_gets_the_version_that_served_when_it_was_accepted(served: Pieces, figures: list[str]) -> None:
    questions = contested(questions_of(served, 1, 2))
    client = Client(served.url)
    before = len(client.model("iris")["moves"])
    with Crowd(served.url, questions) as crowd:
        moves = move_often(client, crowd)
    crowd.check()
    assert len(moves) == before + MOVES
    assert not of_another_version(crowd.answers, moves)
    versions = [response.version for response in crowd.answers]
    misjudged = len(of_another_version(crowd.answers, moves, late=200))
    assert misjudged, "a log that is 200 ms off must contradict the answers, or this test shows nothing"
    figures.append(
        f"{len(versions)} predictions on {CONNECTIONS} connections, {MOVES} moves, 0 failed, 0 of another version "
        f"({versions.count(1)} by version 1, {versions.count(2)} by version 2; a log 200 ms off would fail {misjudged})"
    )


def test_a_version_that_no_worker_can_load_is_refused_and_the_champion_stays(served: Pieces) -> None:
    client = Client(served.url)
    champion, moves = client.version("iris")["card"]["version"], client.model("iris")["moves"]
    version = train_aside(client)["model"]["version"]
    file = Path(served.settings.store_location) / client.version("iris", version)["card"]["artifact"]["folder"] / artifact.MODEL
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Problem, match=f"iris version {version} cannot be served by any worker") as refused:
        client.promote("iris", version)
    assert (refused.value.status, refused.value.type) == (409, "urn:problem-type:mldeploy:cannot-serve")
    assert client.version("iris")["card"]["version"] == champion
    assert client.model("iris")["moves"] == moves
    question = contested(questions_of(served, 1, 2))[0]
    job = client.predict(question.row)
    assert job.wait(20)["prediction"] == question.labels[champion]
    assert job.answer["model"]["version"] == champion
