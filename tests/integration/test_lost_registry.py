"""A store outlives its Redis: nothing of it is overwritten or removed, and `mldeploy models adopt` restores it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.job import Kind
from mldeploy.client import Client, JobFailed, Problem
from models.inventory import Inventory
from models.registry import Registry
from models.store import open_store
from settings import Settings
from tests.conftest import FAST
from tests.processes import ROOT, Pieces, until

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
KEY = "the key of both"
ROWS = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(60))

Start = Callable[..., Pieces]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the service on one store with an empty Redis."""
    started = list[Pieces]()

    def make(*kinds: Kind) -> Pieces:
        settings = Settings().replace(**FAST, store=str(tmp_path / "store"), signing_key=KEY)
        pieces = Pieces(settings, tmp_path / f"parts{len(started)}")
        started.append(pieces)
        pieces.redis()
        pieces.reconciler()
        pieces.api()
        for kind in kinds or (Kind.PREDICT, Kind.TRAIN):
            pieces.worker(kind)
        return pieces

    yield make
    for pieces in started:
        pieces.stop()


@pytest.fixture
def lost(start: Start) -> Pieces:
    """Train two versions of iris and one of own, and then empty Redis."""
    before = start()
    client = Client(before.url)
    for _ in range(2):
        client.train(model="iris", promote="always").wait(60)
    client.train(ROWS.encode(), model="own").wait(60)
    before.stop()
    return start()


def models(pieces: Pieces, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "mldeploy", "models", command, *arguments, "--home", pieces.settings.home]
    environment = pieces.settings.environment()
    return subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def contents(pieces: Pieces, name: str = "iris") -> dict[str, bytes]:
    """Return the files of finished versions by path."""
    folders = [folder for folder in (Path(pieces.settings.store_location) / name).iterdir() if not folder.name.startswith(".")]
    return {f"{folder.name}/{file.name}": file.read_bytes() for folder in folders for file in folder.iterdir()}


@pytest.mark.slow
def test_stored_versions_are_neither_replaced_nor_removed(lost: Pieces) -> None:
    kept, client = contents(lost), Client(lost.url)
    with pytest.raises(Problem, match="mldeploy models adopt iris"):  # and no training was started
        client.predict(FLOWER, model="iris").wait(60)
    trained = client.train(model="iris", promote="always").wait(60)
    assert trained["model"]["version"] == 3
    assert client.predict(FLOWER, model="iris").wait(20)["prediction"] == "setosa"
    now = contents(lost)
    assert {name: now.get(name) for name in kept} == kept


def is_reported(client: Client) -> bool:
    return "versions-not-adopted" in [reason["code"] for reason in client.ready()["reasons"]]


@pytest.mark.slow
def test_adopted_versions_serve_with_their_cards_and_data(lost: Pieces) -> None:
    client = Client(lost.url)
    assert is_reported(client)
    looked = models(lost, "adopt", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "to be adopted: 3; refused: 0" in looked.stdout
    misspelled = models(lost, "adopt", "irsi")
    assert misspelled.returncode == 1
    assert "the store has no model irsi; it has iris, own" in misspelled.stderr, misspelled.stderr
    adopted = models(lost, "adopt", "iris")
    assert adopted.returncode == 0, adopted.stderr
    assert "models promote iris 2" in adopted.stdout
    assert [version["version"] for version in client.model("iris")["versions"]] == [1, 2]
    assert client.model("iris")["aliases"] == {}
    rest = models(lost, "adopt", "--promote")
    assert "own: version 1 serves" in rest.stdout, rest.stdout + rest.stderr
    client.promote("iris", 1)
    assert client.predict(FLOWER, model="iris").wait(30)["prediction"] == "setosa"
    assert client.predict({"a": 1, "b": 1}, model="own").wait(30)["prediction"] == "low"
    assert client.train(model="own", promote="always").wait(60)["model"]["version"] == 2
    until(lambda: not is_reported(client), 5, "all is adopted")
    again = models(lost, "adopt")
    assert "adopted: 0; refused: 0" in again.stdout, again.stdout + again.stderr


@pytest.mark.slow
def test_data_set_of_the_newest_version_is_restored(start: Start) -> None:
    before = start()
    client = Client(before.url)
    client.train(ROWS.encode(), model="own").wait(60)
    more = "a,b,level\n" + "".join(f"{n},{n % 5},high\n" for n in range(10, 40))
    client.add_rows("own", more.encode()).wait(60)
    client.train(model="own", promote="always").wait(60)
    rows = client.dataset("own")["rows"]
    before.stop()
    after = start()
    adopted = models(after, "adopt", "own")
    assert f"its data set own is back, {rows} rows" in adopted.stdout, adopted.stdout + adopted.stderr
    assert Client(after.url).dataset("own")["rows"] == rows


@pytest.mark.slow
def test_altered_or_foreign_versions_are_refused(lost: Pieces) -> None:
    (harmed,) = Path(lost.settings.store_location).glob("own/1-1-*/model.joblib")
    harmed.chmod(0o600)
    harmed.write_bytes(harmed.read_bytes() + b"x")
    completed = models(lost, "adopt", "own")
    assert completed.returncode == 1
    assert "refused" in completed.stdout
    stranger = lost.settings.replace(signing_key="another")
    lost.settings = stranger
    completed = models(lost, "adopt", "iris")
    assert (completed.returncode, completed.stdout.count("MLDEPLOY_SIGNING_KEY")) == (1, 2)
    assert not any(model["versions"] for model in Client(lost.url).models())


@pytest.mark.slow
def test_two_registries_on_one_store_do_not_interfere(start: Start) -> None:
    first, second = start(), start()
    for _ in range(12):  # more than are kept
        Client(first.url).train(ROWS.encode(), model="own", promote="always").wait(60)
    until(lambda: len(list((Path(first.settings.store_location) / "own").iterdir())) == 10, 20, "the oldest were removed")
    own = contents(first, "own")
    with pytest.raises(JobFailed, match="train again for a higher number"):  # the store was empty when it was searched
        Client(second.url).train(ROWS.encode(), model="own", promote="always").wait(60)
    trained = Client(second.url).train(ROWS.encode(), model="own", promote="always").wait(60)
    assert trained["model"]["version"] > 12
    for _ in range(11):
        Client(second.url).train(model="own", promote="always").wait(60)
    folder = Path(first.settings.store_location) / "own"
    assert [name for name, content in own.items() if (folder / name).read_bytes() != content] == []
    assert Client(first.url).predict({"a": 1, "b": 1}, model="own").wait(20)["prediction"] == "low"


def test_numbers_start_above_the_stores(start: Start, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.write("iris/7-1", {"model.joblib": b"x", "manifest.json": b"{}"})
    pieces = start(Kind.TRAIN)
    until(lambda: pieces.ledger.redis.exists(f"{pieces.ledger.prefix}surveyed"), 20, "the store was looked through")
    known = pieces.ledger.redis, pieces.ledger.prefix, pieces.ledger.guard
    registry = Registry(*known)
    assert registry.unadopted() == {"iris": 1}
    assert registry.next_version("iris") == 8
    assert Inventory(*known, registry, store).begin("iris", 8, 1).startswith("iris/8-1-")
