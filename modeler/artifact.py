"""A version's files in the store: model, card and a signed manifest. The bytes that are unpickled are the bytes verified."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import Any, Literal

import joblib
import msgspec
import sklearn
from msgspec import Struct
from sklearn.frozen import FrozenEstimator

from models.card import Artifact, Card, from_json
from models.signing import is_signed, sign
from models.store import Misplaced, Store, open_store

MODEL = "model.joblib"
CARD = "card.json"
MANIFEST = "manifest.json"


class CorruptArtifact(RuntimeError):
    """The model's files are missing or differ from the published ones; the message says which and what to do."""


class UnloadableHere(RuntimeError):
    """This worker cannot load the model, though another may; the message says why."""


class Manifest(Struct, frozen=True):
    """``files``: the sha256 of each. ``signature``: HMAC-SHA256 over all other fields."""

    name: str
    version: int
    files: dict[str, str]
    signature: str = ""
    format: Literal[1] = 1

    def signed(self, key: bytes) -> "Manifest":
        return msgspec.structs.replace(self, signature=sign(key, self._content()))

    def is_signed(self, key: bytes) -> bool:
        return is_signed(key, self._content(), self.signature)

    def _content(self) -> bytes:
        return msgspec.json.encode(msgspec.structs.replace(self, signature=""), order="sorted")


@dataclass(frozen=True, slots=True)
class ArtifactStore:
    """The store of the versions, and the key that signs them."""

    store: Store
    key: bytes


def open_artifact_store(location: str, key: bytes) -> ArtifactStore:
    """Raises models.store.BadStore."""
    return ArtifactStore(open_store(location), key)


def libraries(estimator: Any) -> dict[str, str]:
    """Return the versions of the packages of an estimator and its parts, with scikit-learn, numpy and joblib."""
    modules = {type(part).__module__.partition(".")[0] for part in _parts(estimator)}
    names = {"scikit-learn", "numpy", "joblib", *(module for module in modules if module not in ("sklearn", "builtins", "numpy"))}
    return {name: found for name in sorted(names) if (found := _version(name))}


def dump(estimator: Any) -> bytes:
    model = BytesIO()
    joblib.dump(estimator, model)
    return model.getvalue()


def describe(folder: str, model: bytes) -> Artifact:
    return Artifact(folder, _sha256(model), len(model))


def write(artifacts: ArtifactStore, card: Card, model: bytes) -> None:
    """Write a version's files, the manifest last: none is visible before all are. Raises OSError."""
    files = {MODEL: model, CARD: msgspec.json.format(card.to_json().encode(), indent=2)}
    manifest = Manifest(card.name, card.version, {name: _sha256(content) for name, content in files.items()}).signed(
        artifacts.key
    )
    artifacts.store.write(card.artifact.folder, {**files, MANIFEST: msgspec.json.encode(manifest)})


def load(artifacts: ArtifactStore, card: Card) -> Any:
    """Load the estimator. Raises CorruptArtifact, UnloadableHere, or OSError if the store is unavailable."""
    made_with = card.libraries.get("scikit-learn", "")
    if _minor(made_with) != _minor(sklearn.__version__):
        raise UnloadableHere(
            f"{_named(card)} was made with scikit-learn {made_with}, this worker has {sklearn.__version__}: "
            f"run a worker with {made_with}, or `mldeploy models refit` with this one"
        )
    return joblib.load(BytesIO(verified(artifacts, card)))


def verified(artifacts: ArtifactStore, card: Card) -> bytes:
    """Return the model's bytes, verified against the card and the signed manifest. Raises CorruptArtifact or OSError."""
    manifest = _manifest(artifacts, card)
    content = _read(artifacts, card, MODEL)
    digest = _sha256(content)
    if digest != manifest.files.get(MODEL) or digest != card.artifact.sha256:
        raise CorruptArtifact(f"the file of {_named(card)} is not the one that was published: {_ADVICE}")
    return content


def read_card(artifacts: ArtifactStore, folder: str) -> Card:
    """Return the card in a version's folder, after verifying all files against the signed manifest. Unpickles nothing. Raises
    CorruptArtifact or OSError."""
    try:
        manifest = msgspec.json.decode(artifacts.store.read(f"{folder}/{MANIFEST}"), type=Manifest)
        text = artifacts.store.read(f"{folder}/{CARD}")
        card = from_json(text)
    except FileNotFoundError:
        raise CorruptArtifact("it was never finished: its manifest or its card is not there") from None
    except msgspec.DecodeError as error:
        raise CorruptArtifact(f"its manifest or its card cannot be read ({error})") from None
    if not manifest.is_signed(artifacts.key):
        raise CorruptArtifact(
            "its manifest was altered, or signed with another key: restore its signing.key (or MLDEPLOY_SIGNING_KEY)"
        )
    if _sha256(text) != manifest.files.get(CARD) or card.artifact.folder != folder:
        raise CorruptArtifact("its card is not the one that was published there")
    verified(artifacts, card)
    return card


_ADVICE = "roll back, or train it again"


def _manifest(artifacts: ArtifactStore, card: Card) -> Manifest:
    try:
        manifest = msgspec.json.decode(_read(artifacts, card, MANIFEST), type=Manifest)
    except msgspec.DecodeError:
        raise CorruptArtifact(f"the manifest of {_named(card)} cannot be read: {_ADVICE}") from None
    if not manifest.is_signed(artifacts.key):
        raise CorruptArtifact(
            f"the manifest of {_named(card)} was altered, or signed with another key: restore the signing.key (or "
            f"MLDEPLOY_SIGNING_KEY) that published it, or import the model with `mldeploy models import`"
        )
    if (manifest.name, manifest.version) != (card.name, card.version):
        raise CorruptArtifact(f"where {_named(card)} should be is {manifest.name} version {manifest.version}: {_ADVICE}")
    return manifest


def _read(artifacts: ArtifactStore, card: Card, name: str) -> bytes:
    """Read a file. Raises CorruptArtifact if the file is missing, OSError if the store is unavailable and may come back."""
    try:
        return artifacts.store.read(f"{card.artifact.folder}/{name}")
    except Misplaced:
        raise CorruptArtifact(f"the card of {_named(card)} names a place outside the store") from None
    except FileNotFoundError:
        raise CorruptArtifact(f"the file {name} of {_named(card)} is gone from the store: {_ADVICE}") from None


def _named(card: Card) -> str:
    return f"{card.name} version {card.version}"


def _minor(version_: str) -> list[str]:
    return version_.split(".")[:2]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parts(estimator: Any) -> list[Any]:
    params = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    parts = [param for param in params if hasattr(param, "get_params")]
    frozen = [part.estimator for part in parts if isinstance(part, FrozenEstimator)]  # which hides its own parts
    return [estimator, *parts, *(each for inner in frozen for each in _parts(inner))]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
