"""What the store has of versions, and what of it this registry made. Only that is ever removed without an order: a store may
outlive its Redis, be newer than a restored one, or be shared.

``<prefix>:2:folders:<name>``  set   the folders of a model that this registry has begun to write
``<prefix>:2:unadopted``       hash  <name> -> how many finished versions the store has that the registry does not know
``<prefix>:2:surveyed``        1 once the store was looked through
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import redis

from models import version_folders
from models.compare_and_set import Guard
from models.registry import Model, Registry
from models.store import Store
from models.version_folders import Folder

ROWS = "_"  # what begins so is no model

# Each begins with a command that Redis takes though its memory is full; the rest then passes too.
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
    """The store has a version of this number that this registry did not make; the message says what to do."""


class Contents(NamedTuple):
    """Of a model's place in the store. ``unknown``: the folders that this registry neither registered nor made."""

    folders: list[Folder]
    unknown: list[Folder]

    @property
    def highest(self) -> int:
        return max((folder.version for folder in self.folders), default=0)

    @property
    def unadopted(self) -> list[Folder]:
        return [folder for folder in self.unknown if folder.finished]


class Inventory:
    """``guard`` runs each call to Redis, as the registry's does. Methods raise OSError if the store fails."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard, registry: Registry, store: Store) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard
        self._registry = registry
        self._store = store
        self._begin = client.register_script(BEGIN)
        self._note = client.register_script(NOTE)

    def is_surveyed(self) -> bool:
        """False too after Redis has lost all."""
        return bool(self._guard(lambda: self._redis.exists(self._prefix + "surveyed")))

    def survey(self) -> dict[str, int]:
        """Look the store through: numbers start above its own from now on. Returns how many versions of which model the registry
        does not know."""
        contents = {name: self.contents(name) for name in self.models()}
        self._write({**dict.fromkeys(self._registry.unadopted(), Contents([], [])), **contents}, surveyed=True)
        return {name: len(found.unadopted) for name, found in contents.items() if found.unadopted}

    def models(self) -> list[str]:
        """The names that the store has folders of."""
        return [name for name in self._store.names("") if not name.startswith((ROWS, "."))]

    def contents(self, name: str) -> Contents:
        found = version_folders.parse(self._store.names(name))
        known = self._made(name) | _registered(self._registry.model(name))
        return Contents(found, [folder for folder in found if folder.name not in known])

    def look_at(self, name: str) -> Contents:
        """One model, whose numbers start above the store's from now on."""
        contents = self.contents(name)
        self._write({name: contents}, surveyed=False)
        return contents

    def begin(self, name: str, version: int, attempt: int) -> str:
        """The folder to write an attempt at a version to; what attempts that died have left is removed. Raises NumberTaken."""
        contents = self.look_at(name)
        model = self._registry.model(name)
        numbers = {folder.version for folder in contents.unknown}
        is_first = not (model and model.cards)
        if version in numbers or (is_first and version < max(numbers, default=0)):
            raise NumberTaken(
                f"the store has versions of {name} that this registry does not know (the highest is {max(numbers)}): "
                f"`mldeploy models adopt {name}` brings them back, or train again for a higher number"
            )
        made = self._made(name)
        for folder in contents.folders:  # never a later attempt's: this one may be stale itself
            if folder.name in made and folder.version == version and folder.attempt < attempt:
                self._remove(name, folder)
        begun = version_folders.new_name(version, attempt)
        self._guard(lambda: self._begin(keys=[self._folders(name)], args=[begun]))
        return f"{name}/{begun}"

    def leftovers(self, name: str) -> list[Folder]:
        """What this registry made and has not registered."""
        made = self._made(name) - _registered(self._registry.model(name))
        return [folder for folder in version_folders.parse(self._store.names(name)) if folder.name in made]

    def remove(self, folder: str) -> None:
        """One of ours, or one that the operator wants gone."""
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
    """The files of rows that the cards of these folders name, signed or not: whoever wrote them may need them."""
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
