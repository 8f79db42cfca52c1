"""The records of named data sets: their column types and the files in the store that hold their rows. They are in Redis, so that
adding rows and ending the job that added them is one atomic step.

``<prefix>:2:dataset:<name>``  hash  record
``<prefix>:2:datasets``        hash  <name> -> 1
"""

import msgspec
import redis
from msgspec import Struct

from compare_and_set import CompareAndSet, CompareAndSetScript, Guard
from models.feature import FeatureType
from models.reading import AS_IT_COMES, ReadOptions


def scoped(caller: str, name: str) -> str:
    """Return the name under which a caller's data set is stored: callers never share one. Without API keys it is ``name``."""
    return f"{caller}.{name}" if caller else name


def unscoped_name(scoped_name: str) -> str:
    """Return the name that the caller uses for it."""
    return scoped_name.rpartition(".")[2]


class UnknownDataset(LookupError):
    """There is no data set of this name; the message lists the existing ones."""


class Part(Struct, frozen=True, omit_defaults=True):
    """Rows that came together; the file's name is its sha256. ``sources`` are digests of the tables that brought them, as they
    were sent, and of parts that were merged into this one; of a part from before they were kept there are none."""

    sha256: str
    rows: int
    bytes: int
    sources: tuple[str, ...] = ()


class DatasetRecord(Struct, frozen=True):
    """``types`` by column, the target among them. ``test_share`` was fixed when it was first trained on; ``group`` and
    ``time`` are those of the last promoted training (see TrainOptions). ``key``: the columns by which its rows are unique; none:
    every row counts. ``reading``: how its tables are read."""

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
    group: str = ""
    time: str = ""
    key: tuple[str, ...] = ()
    reading: ReadOptions = AS_IT_COMES

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


class Found(Struct, frozen=True):
    """A record and the text that it was decoded from, which a compare-and-set expects to find."""

    record: DatasetRecord | None
    text: str


class Datasets:
    """``guard`` runs each call to Redis, and decides how long it may take and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard
        self._compare_and_set = CompareAndSetScript(client, prefix, guard)

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
        """Return the names of a caller's data sets, as the caller uses them."""
        return [unscoped_name(name) for name in self.names() if scoped(caller, unscoped_name(name)) == name]

    def has_room(self, name: str, max_datasets: int) -> bool:
        """Return whether the caller of this (scoped) name has fewer than ``max_datasets`` data sets."""
        return len(self.names_of(name.removesuffix(unscoped_name(name)).removesuffix("."))) < max_datasets

    def changes(self, found: Found, record: DatasetRecord) -> list[CompareAndSet]:
        """Return the changes that replace ``found`` with ``record``."""
        text = msgspec.json.encode(record).decode()
        changes = [CompareAndSet(f"dataset:{record.name}", "record", found.text, text)]
        if found.record is None:
            changes.append(CompareAndSet("datasets", record.name, "", "1"))
        return changes

    def parts(self) -> set[str]:
        """Return the sha256 of every part of every data set."""
        records = [record for name in self.names() if (record := self.find(name).record)]
        return {part.sha256 for record in records for part in record.parts}

    def apply(self, found: Found, record: DatasetRecord) -> bool:
        """Replace ``found`` with ``record``. Returns False if the data set has changed since it was read."""
        return self._compare_and_set.apply(self.changes(found, record))

    def delete(self, found: Found) -> bool:
        """Delete a data set. Returns False if it has changed since it was read."""
        assert found.record is not None
        name = found.record.name
        changes = [CompareAndSet(f"dataset:{name}", "record", found.text, ""), CompareAndSet("datasets", name, "1", "")]
        return self._compare_and_set.apply(changes)
