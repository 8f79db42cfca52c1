"""Which versions the store holds, and which of their folders this registry made. Only those are ever removed automatically: a
store may outlive its Redis, be newer than a restored one, or be shared.

``<prefix>:2:folders:<name>``  set   the folders of a model that this registry has started to write
``<prefix>:2:unadopted``       hash  <name> -> how many finished versions in the store the registry does not know
``<prefix>:2:surveyed``        1 once the store has been surveyed
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import redis

from compare_and_set import Guard
from models import version_folders
from models.registry import Model, Registry
from models.store import Store
from models.version_folders import Folder

ROWS = "_"  # names that start with it are not models

# Each script starts with a command that Redis accepts when its memory is full; then it runs the rest too.
BEGIN = "redis.call('SREM', KEYS[1], ARGV[1]) redis.call('SADD', KEYS[1], ARGV[1])"
NOTE = """
redis.call('DEL', KEYS[4])
for at = 2, #ARGV, 3 do
  local name, highest = ARGV[at], tonumber(ARGV[at + 1])
  redis.call('HDEL', KEYS[2], name)
  if ARGV[at + 2] ~= '0' then redis.call('HSET', KEYS[2], name, ARGV[at + 2]) end
  if tonumber(redis.call('HGET', KEYS[1], name) or '0') < highest then redis.call('HSET', KEYS[1], name, highest) end
end
if ARGV[1] == '1' then redis.call('SET', KEYS[3], 1) end
"""


class NumberTaken(RuntimeError):
    """The store has a version with this number that this registry did not make; the message says what to do."""


class Contents(NamedTuple):
    """The version folders of a model in the store. ``unknown``: those that this registry neither registered nor made."""

    folders: list[Folder]
    unknown: list[Folder]

    @property
    def highest(self) -> int:
        return max((folder.version for folder in self.folders), default=0)

    @property
    def unadopted(self) -> list[Folder]:
        return [folder for folder in self.unknown if folder.finished]


class Inventory:
    """Compares the store with the registry. ``guard`` runs each call to Redis. Methods raise OSError if the store fails."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard, registry: Registry, store: Store) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard
        self._registry = registry
        self._store = store
        self._begin = client.register_script(BEGIN)
        self._note = client.register_script(NOTE)

    def is_surveyed(self) -> bool:
        """Return whether the store has been surveyed since Redis was last empty."""
        return bool(self._guard(lambda: self._redis.exists(self._prefix + "surveyed")))

    def survey(self) -> dict[str, int]:
        """Record all models in the store, so that new version numbers start above theirs. Returns by model how many versions the
        registry does not know, without the models that have none."""
        contents = {name: self.contents(name) for name in self.models()}
        self._write({**dict.fromkeys(self._registry.unadopted(), Contents([], [])), **contents}, surveyed=True)
        return {name: len(found.unadopted) for name, found in contents.items() if found.unadopted}

    def models(self) -> list[str]:
        """Return the names of the models that have a folder in the store."""
        return [name for name in self._store.names("") if not name.startswith((ROWS, "."))]

    def contents(self, name: str) -> Contents:
        found = version_folders.parse(self._store.names(name))
        known = self._made(name) | _registered(self._registry.model(name))
        return Contents(found, [folder for folder in found if folder.name not in known])

    def refresh(self, name: str) -> Contents:
        """Record one model, so that its new version numbers start above those in the store."""
        contents = self.contents(name)
        self._write({name: contents}, surveyed=False)
        return contents

    def begin(self, name: str, version: int, attempt: int) -> str:
        """Return the folder for this attempt at a version, and remove those of earlier attempts. Raises NumberTaken."""
        contents = self.refresh(name)
        model = self._registry.model(name)
        numbers = {folder.version for folder in contents.unknown}
        is_first = not (model and model.cards)
        if version in numbers or (is_first and version < max(numbers, default=0)):
            raise NumberTaken(
                f"the store has versions of {name} that this registry does not know (the highest is {max(numbers)}): "
                f"`mldeploy models adopt {name}` brings them back, or train again for a higher number"
            )
        made = self._made(name)
        for folder in contents.folders:  # never those of a later attempt: this one may be stale itself
            if folder.name in made and folder.version == version and folder.attempt < attempt:
                self._remove(name, folder)
        begun = version_folders.new_name(version, attempt)
        self._guard(lambda: self._begin(keys=[self._folders(name)], args=[begun]))
        return f"{name}/{begun}"

    def leftovers(self, name: str) -> list[Folder]:
        """Return the folders that this registry made and has not registered."""
        made = self._made(name) - _registered(self._registry.model(name))
        return [folder for folder in version_folders.parse(self._store.names(name)) if folder.name in made]

    def remove(self, folder: str) -> None:
        """Remove a folder that this registry made, or that the operator wants removed."""
        name, _, last = folder.rpartition("/")
        self._store.remove(folder)
        self._guard(lambda: self._redis.srem(self._folders(name), last))

    def remove_leftover(self, name: str, folder: Folder) -> None:
        self._remove(name, folder)

    def _remove(self, name: str, folder: Folder) -> None:
        self._store.remove(f"{name}/{folder.entry}")
        self._guard(lambda: self._redis.srem(self._folders(name), folder.name))

    def _made(self, name: str) -> set[str]:
        return {folder.decode() for folder in self._guard(lambda: self._redis.smembers(self._folders(name)))}

    def _write(self, contents: Mapping[str, Contents], surveyed: bool) -> None:
        keys = [self._prefix + key for key in ("latest", "unadopted", "surveyed", "surveying")]
        flat = [value for name, found in contents.items() for value in (name, found.highest, len(found.unadopted))]
        self._guard(lambda: self._note(keys=keys, args=[int(surveyed), *flat]))

    def _folders(self, name: str) -> str:
        return f"{self._prefix}folders:{name}"


class _PartsOnly(msgspec.Struct):
    parts: tuple[str, ...] = ()


class _CardOfParts(msgspec.Struct):
    data: _PartsOnly


def parts_named_in(store: Store, name: str, found: list[Folder]) -> set[str]:
    """Return the data files that the cards in these folders name, signed or not: their owner may still need them."""
    parts: set[str] = set()
    for folder in found:
        try:
            card = msgspec.json.decode(store.read(f"{name}/{folder.entry}/card.json"), type=_CardOfParts)
        except (FileNotFoundError, msgspec.DecodeError):
            continue
        parts |= set(card.data.parts)
    return parts


def _registered(model: Model | None) -> set[str]:
    return {card.artifact.folder.rpartition("/")[2] for card in model.cards.values()} if model else set()
