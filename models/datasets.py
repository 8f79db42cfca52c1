"""The data sets that have a name: of which parts in the store their rows are, and of what types. In Redis, so that adding rows
and ending the job that did are one step.

``<prefix>:2:dataset:<name>``  hash  record
``<prefix>:2:datasets``        hash  <name> -> 1
"""

import msgspec
import redis
from msgspec import Struct

from models.compare_and_set import Change, Changes, Guard
from models.feature import FeatureType


def scoped(caller: str, name: str) -> str:
    """The name under which a caller's data set is kept: those of two callers never meet. Without keys it is the name."""
    return f"{caller}.{name}" if caller else name


def shown(scoped_name: str) -> str:
    """The name that its caller gave it."""
    return scoped_name.rpartition(".")[2]


class UnknownDataset(LookupError):
    """No data set of this name; the message lists those there are."""


class Part(Struct, frozen=True):
    """Rows that came together; the file's name is its sha256."""

    sha256: str
    rows: int
    bytes: int


class DatasetRecord(Struct, frozen=True):
    """``types`` by column, the target among them. ``test_share`` was fixed when it was first trained on."""

    name: str
    target: str
    types: dict[str, FeatureType]
    test_share: float
    parts: tuple[Part, ...]
    created_at: str
    updated_at: str
    weight: str = ""
    revision: int = 1
    format: int = 1

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


class Found(Struct, frozen=True):
    """A record, and the text that it was read from: who changes it says what it was."""

    record: DatasetRecord | None
    text: str


class Datasets:
    """``guard`` runs each call to Redis, and decides how long it may take and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard
        self._changes = Changes(client, prefix, guard)

    def names(self) -> list[str]:
        return sorted(name.decode() for name in self._guard(lambda: self._redis.hkeys(self._prefix + "datasets")))

    def find(self, name: str) -> Found:
        text = self._guard(lambda: self._redis.hget(f"{self._prefix}dataset:{name}", "record"))
        return Found(msgspec.json.decode(text, type=DatasetRecord), text.decode()) if text else Found(None, "")

    def get(self, name: str) -> DatasetRecord:
        """Raises UnknownDataset."""
        record = self.find(name).record
        if record is None:
            raise UnknownDataset(f"there is no data set {name}; there are: {', '.join(self.names()) or 'none yet'}")
        return record

    def names_of(self, caller: str) -> list[str]:
        """As the caller gave them."""
        return [shown(name) for name in self.names() if scoped(caller, shown(name)) == name]

    def has_room(self, name: str, most: int) -> bool:
        """Whether another data set of the caller of this (scoped) name may be made."""
        return len(self.names_of(name.removesuffix(shown(name)).removesuffix("."))) < most

    def change(self, found: Found, record: DatasetRecord) -> list[Change]:
        """The changes that put ``record`` where ``found`` was."""
        text = msgspec.json.encode(record).decode()
        changes = [Change(f"dataset:{record.name}", "record", found.text, text)]
        if found.record is None:
            changes.append(Change("datasets", record.name, "", "1"))
        return changes

    def parts(self) -> set[str]:
        """All that some data set has now."""
        records = [record for name in self.names() if (record := self.find(name).record)]
        return {part.sha256 for record in records for part in record.parts}

    def apply(self, found: Found, record: DatasetRecord) -> bool:
        """Put ``record`` where ``found`` was; whether it still was."""
        return self._changes.apply(self.change(found, record))

    def forget(self, found: Found) -> bool:
        """Whether it still was what was found, and is gone."""
        assert found.record is not None
        name = found.record.name
        gone = [Change(f"dataset:{name}", "record", found.text, ""), Change("datasets", name, "1", "")]
        return self._changes.apply(gone)
