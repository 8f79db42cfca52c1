"""A version's files are truncated, bit-flipped, exchanged or forged."""

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
Figures = list[str]


ATTEMPTS = ("victim/1-2", "victim/2-1", "other/1-1", "victim/1-1")  # the first one is damaged
PLACES = dict(zip(("version", "model", "attempt"), ATTEMPTS[1:], strict=True))
ROUNDS = 10  # of each damage

Damage = Callable[[Path, random.Random], None]


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._sings = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._sings,)


def pickled_canary(marker: Path, seed: int) -> list[Any]:
    """Return an object whose canary is unpickled first, whatever is damaged behind it."""
    return [Canary(marker), random.Random(seed).randbytes(130_000)]


def truncated(victim: Path, chance: random.Random) -> None:
    content = (victim / MODEL).read_bytes()
    (victim / MODEL).write_bytes(content[: chance.randrange(len(content))])


def bit_flipped(victim: Path, chance: random.Random) -> None:
    content = bytearray((victim / MODEL).read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (victim / MODEL).write_bytes(content)


def file_of(other: str) -> Damage:
    def rollout(victim: Path, _: random.Random) -> None:
        (victim / MODEL).write_bytes((victim.parent.parent / PLACES[other] / MODEL).read_bytes())

    return rollout


def folder_of(other: str) -> Damage:
    """Copy every file of another version's folder, its signed manifest included."""

    def rollout(victim: Path, _: random.Random) -> None:
        for file in (victim.parent.parent / PLACES[other]).iterdir():
            (victim / file.name).write_bytes(file.read_bytes())

    return rollout


def manifest_altered(victim: Path, chance: random.Random) -> None:
    """Change one bit of the manifest or of its signature."""
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
    """Replace the model and sign a matching manifest without the right key."""
    file_of("model")(victim, chance)
    manifest = msgspec.json.decode((victim / MANIFEST).read_bytes(), type=Manifest)
    digest = artifact.describe("", (victim / MODEL).read_bytes()).sha256
    forged_manifest = msgspec.structs.replace(manifest, files={**manifest.files, MODEL: digest}).signed(chance.randbytes(32))
    (victim / MANIFEST).write_bytes(msgspec.json.encode(forged_manifest))


DAMAGES: dict[str, Damage] = {
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
def damaged(victim: Path, damage: Damage, chance: random.Random) -> Iterator[None]:
    whole = {file: file.read_bytes() for file in victim.iterdir()}
    damage(victim, chance)
    assert {file: file.read_bytes() for file in victim.iterdir()} != whole
    yield
    for file, content in whole.items():
        file.write_bytes(content)


def store_canaries(artifacts: ArtifactStore, marker: Path) -> Card:
    """Store a canary in each folder. Returns the card of the version that will be damaged."""
    cards = []
    for seed, folder in enumerate(ATTEMPTS):
        model = artifact.dump(pickled_canary(marker, seed))
        name, version = folder.split("/")[0], int(folder.split("/")[1][0])
        schema = Schema(tuple(Feature(feature, "number", 0.0) for feature in FEATURES), "answer", (0,))
        data, libraries = Data(name, "", (), 0, 0, 0.2), {"scikit-learn": sklearn.__version__}
        place = artifact.describe(folder, model)
        cards.append(Card(name, version, "", "", "Canary", {}, schema, data, Metrics(0), place, libraries, "", 0.0))
        artifact.write(artifacts, cards[-1], model)
    return cards[0]


def unpickles(file: Path, marker: Path) -> bool:
    """Return whether the file is unpickled by a service that checks nothing."""
    with suppress(Exception):
        joblib.load(BytesIO(file.read_bytes()))
    unpickled = marker.exists()
    marker.unlink(missing_ok=True)
    return unpickled


@pytest.mark.parametrize("what", list(DAMAGES))
def test_damaged_version_is_refused_before_it_is_unpickled(tmp_path: Path, what: str) -> None:
    marker, chance = tmp_path / "sings", random.Random(what)
    artifacts = ArtifactStore(FolderStore(tmp_path / "store"), b"a key of ours")
    card = store_canaries(artifacts, marker)
    victim, unpickled = tmp_path / "store" / card.artifact.folder, 0
    for _ in range(ROUNDS):
        with damaged(victim, DAMAGES[what], chance):
            with pytest.raises(CorruptArtifact):
                artifact.load(artifacts, card)
            assert not marker.exists()
            unpickled += unpickles(victim / MODEL, marker)
    assert unpickled > ROUNDS / 2, "the canary must show that a service without checks would have unpickled it"
    artifact.load(artifacts, card)
    assert marker.exists()


def test_worker_survives_a_damaged_version_and_serves_the_others(assemble: Assemble, figures: Figures) -> None:
    pieces = assemble()
    worker, client = pieces.worker(), Client(pieces.url)
    marker = pieces.folder / "sings"
    card = store_canaries(shelf_of(pieces), marker)
    registry = Registry(pieces.ledger.redis, pieces.ledger.prefix, pieces.ledger.guard)
    assert registry.next_version("victim") == card.version
    assert registry.apply(registry.publication(card, promote=True))
    processes = worker.family
    for number, (what, damage) in enumerate(DAMAGES.items()):
        with damaged(store_of(pieces) / card.artifact.folder, damage, random.Random(what)):
            bad, good = client.predict(row(number), model="victim"), client.predict(row(number), model="poison")
            with pytest.raises(JobFailed) as failed:
                bad.wait(20)
            assert failed.value.type == "urn:problem-type:mldeploy:corrupt-artifact"
            assert good.wait(20)["prediction"] == expected(number)
    assert not marker.exists()
    assert worker.family == processes
    with pytest.raises(JobFailed, match="no attribute"):  # whole again, it is loaded, and is no model
        client.predict(row(0), model="victim").wait(20)
    assert marker.exists()
    figures.append(
        f"{len(DAMAGES) * ROUNDS} damaged artifacts of {len(DAMAGES)} kinds, 0 unpickled; {len(DAMAGES)} by a live worker"
    )
