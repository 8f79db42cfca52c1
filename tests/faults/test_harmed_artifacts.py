"""F12 of the faults to survive: a version's files are truncated, flipped, swapped or forged."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import msgspec
import pytest
import sklearn

from mldeploy.client import Client, JobFailed
from modeler import artifact
from modeler.artifact import MANIFEST, MODEL, ArtifactStore, CorruptArtifact, Manifest
from models.card import Card, Data, Metrics
from models.feature import Feature
from models.registry import Registry
from models.schema import Schema
from models.store import FolderStore
from tests.poison import FEATURES, expected, row
from tests.processes import Pieces
from tests.versions import shelf_of, store_of

Assemble = Callable[..., Pieces]
Tell = list[str]


ATTEMPTS = ("victim/1-2", "victim/2-1", "other/1-1", "victim/1-1")  # the first is the one that is harmed
PLACES = dict(zip(("version", "model", "attempt"), ATTEMPTS[1:], strict=True))
ROUNDS = 10  # of each harm

Harm = Callable[[Path, random.Random], None]


class Canary:
    """Whoever unpickles it makes a file."""

    def __init__(self, sings: Path) -> None:
        self._sings = sings

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._sings,)


def caged(sings: Path, seed: int) -> list[Any]:
    """The canary is unpickled first, whatever has happened to all that is behind it."""
    return [Canary(sings), random.Random(seed).randbytes(130_000)]


def truncated(victim: Path, chance: random.Random) -> None:
    content = (victim / MODEL).read_bytes()
    (victim / MODEL).write_bytes(content[: chance.randrange(len(content))])


def bit_flipped(victim: Path, chance: random.Random) -> None:
    content = bytearray((victim / MODEL).read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (victim / MODEL).write_bytes(content)


def file_of(other: str) -> Harm:
    def rollout(victim: Path, _: random.Random) -> None:
        (victim / MODEL).write_bytes((victim.parent.parent / PLACES[other] / MODEL).read_bytes())

    return rollout


def folder_of(other: str) -> Harm:
    """Each file of it, its signed manifest too."""

    def rollout(victim: Path, _: random.Random) -> None:
        for file in (victim.parent.parent / PLACES[other]).iterdir():
            (victim / file.name).write_bytes(file.read_bytes())

    return rollout


def manifest_altered(victim: Path, chance: random.Random) -> None:
    """One bit of what it says, or of its signature."""
    manifest = msgspec.json.decode((victim / MANIFEST).read_bytes())
    field = chance.choice(["name", "version", "digest", "signature"])
    if field == "version":
        manifest["version"] ^= 1 << chance.randrange(8)
    else:
        holder, key = (manifest["files"], MODEL) if field == "digest" else (manifest, field)
        place = chance.randrange(len(holder[key]))
        holder[key] = holder[key][:place] + chr(ord(holder[key][place]) ^ 1) + holder[key][place + 1 :]
    (victim / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def forged(victim: Path, chance: random.Random) -> None:
    """Another file, and a manifest that tells of it, by somebody who has no key."""
    file_of("model")(victim, chance)
    manifest = msgspec.json.decode((victim / MANIFEST).read_bytes(), type=Manifest)
    digest = artifact.describe("", (victim / MODEL).read_bytes()).sha256
    told = msgspec.structs.replace(manifest, files={**manifest.files, MODEL: digest}).signed(chance.randbytes(32))
    (victim / MANIFEST).write_bytes(msgspec.json.encode(told))


HARMS: dict[str, Harm] = {
    "truncated": truncated,
    "bit flipped": bit_flipped,
    "the file of another version": file_of("version"),
    "the file of another model": file_of("model"),
    "the file of an older attempt": file_of("attempt"),
    "the folder of another version": folder_of("version"),
    "the folder of another model": folder_of("model"),
    "the folder of an older attempt": folder_of("attempt"),
    "manifest altered": manifest_altered,
    "forged": forged,
}


@contextmanager
def harmed(victim: Path, harm: Harm, chance: random.Random) -> Iterator[None]:
    whole = {file: file.read_bytes() for file in victim.iterdir()}
    harm(victim, chance)
    assert {file: file.read_bytes() for file in victim.iterdir()} != whole
    yield
    for file, content in whole.items():
        file.write_bytes(content)


def shelve(artifacts: ArtifactStore, sings: Path) -> Card:
    """A canary in each of the folders. The card of the one that is to be harmed."""
    cards = []
    for seed, folder in enumerate(ATTEMPTS):
        model = artifact.dump(caged(sings, seed))
        name, version = folder.split("/")[0], int(folder.split("/")[1][0])
        schema = Schema(tuple(Feature(feature, "number", 0.0) for feature in FEATURES), "answer", (0,))
        data, libraries = Data(name, "", (), 0, 0, 0.2), {"scikit-learn": sklearn.__version__}
        place = artifact.describe(folder, model)
        cards.append(Card(name, version, "", "", "Canary", {}, schema, data, Metrics(0), place, libraries, "", 0.0))
        artifact.write(artifacts, cards[-1], model)
    return cards[0]


def sings_when_unpickled(file: Path, sings: Path) -> bool:
    """What a service that looks at nothing would do."""
    with suppress(Exception):
        joblib.load(BytesIO(file.read_bytes()))
    heard = sings.exists()
    sings.unlink(missing_ok=True)
    return heard


@pytest.mark.parametrize("what", list(HARMS))
def test_f12_a_harmed_version_is_refused_before_a_byte_is_unpickled(tmp_path: Path, what: str) -> None:
    sings, chance = tmp_path / "sings", random.Random(what)
    artifacts = ArtifactStore(FolderStore(tmp_path / "store"), b"a key of ours")
    card = shelve(artifacts, sings)
    victim, heard = tmp_path / "store" / card.artifact.folder, 0
    for _ in range(ROUNDS):
        with harmed(victim, HARMS[what], chance):
            with pytest.raises(CorruptArtifact):
                artifact.load(artifacts, card)
            assert not sings.exists()
            heard += sings_when_unpickled(victim / MODEL, sings)
    assert heard > ROUNDS / 2, "where nothing would have been heard, silence shows nothing"
    artifact.load(artifacts, card)
    assert sings.exists()


def test_f12_the_worker_that_meets_one_lives_and_serves_the_others(assemble: Assemble, tell: Tell) -> None:
    pieces = assemble()
    worker, client = pieces.worker(), Client(pieces.url)
    sings = pieces.folder / "sings"
    card = shelve(shelf_of(pieces), sings)
    registry = Registry(pieces.ledger.redis, pieces.ledger.prefix, pieces.ledger.guard)
    assert registry.next_version("victim") == card.version
    assert registry.apply(registry.publication(card, promote=True))
    processes = worker.family
    for number, (what, harm) in enumerate(HARMS.items()):
        with harmed(store_of(pieces) / card.artifact.folder, harm, random.Random(what)):
            bad, good = client.predict(row(number), model="victim"), client.predict(row(number), model="poison")
            with pytest.raises(JobFailed) as failed:
                bad.wait(20)
            assert failed.value.type == "urn:problem-type:mldeploy:corrupt-artifact"
            assert good.wait(20)["prediction"] == expected(number)
    assert not sings.exists()
    assert worker.family == processes
    with pytest.raises(JobFailed, match="no attribute"):  # whole again, it is loaded, and is no model
        client.predict(row(0), model="victim").wait(20)
    assert sings.exists()
    tell.append(f"F12: {len(HARMS) * ROUNDS} harmed artifacts of {len(HARMS)} kinds, 0 unpickled; {len(HARMS)} by a live worker")
