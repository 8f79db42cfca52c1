"""Version numbers, aliases and cards. They are in Redis, so that publishing a version and ending its job is one atomic step.

``<prefix>:2:model:<name>``  hash  moves, alias:<alias>, reserved, reserved_by, and for each version card:, kept:, note:, adopted:
``<prefix>:2:models``        hash  <name> -> 1
``<prefix>:2:latest``        hash  <name> -> the number of its newest version; kept when the model is deleted, so that a number
                                   is never used for another version
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import redis
from msgspec import Struct

from compare_and_set import CompareAndSet, CompareAndSetScript, Guard
from models import alias_history
from models.alias_history import Move
from models.card import CHAMPION, Card, from_json

MAX_CACHED = 2000

RESERVE = """
local model, job = KEYS[1], ARGV[1]
if redis.call('HEXISTS', KEYS[4], ARGV[2]) == 1 then return {0, ''} end
local kept = redis.call('HMGET', model, 'reserved', 'reserved_by')
if kept[1] then return {tonumber(kept[1]), kept[2]} end
redis.call('HSET', KEYS[2], ARGV[2], 1)
local version = redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
redis.call('HSET', model, 'reserved', version, 'reserved_by', job)
return {version, job}
"""

NEXT_VERSION = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], 1)
return redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
"""

ABANDON = """
if redis.call('HGET', KEYS[1], 'reserved_by') == ARGV[1] then redis.call('HDEL', KEYS[1], 'reserved', 'reserved_by') end
"""

MAX_ATTEMPTS = 20  # at a change that conflicts with others
MAX_NAME = 64  # characters of a model's name in an error message
MAX_ALIASES = 20
ANNOUNCEMENT_TTL = 3600  # seconds


class TooManyAliases(ValueError):
    """The model has MAX_ALIASES aliases already."""


class MovedMeanwhile(RuntimeError):
    """A change conflicted with others MAX_ATTEMPTS times."""


class UnknownModel(LookupError):
    """There is no model of this name; the message lists the existing ones."""


def no_model(name: str, known: Sequence[str], hint: str = "") -> UnknownModel:
    """Return the error. ``known``: the names of the existing models; ``hint``: appended to the message."""
    there_are = ", ".join(known) or "none yet"
    return UnknownModel(f"there is no model {name[:MAX_NAME]}; there are: {there_are}{hint}")


class UnknownVersion(LookupError):
    """The model has no such version or alias."""


class NotAdopted(UnknownVersion):
    """The registry has no version of this model, but the store has some."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the store has versions of {name} that this registry does not know, as after a loss of Redis: on the server "
            f"`mldeploy models adopt {name}` brings them back; POST /train trains another"
        )


class TooManyModels(ValueError):
    """The limit on models (MLDEPLOY_MAX_MODELS) is reached."""


class Reservation(Struct, frozen=True):
    """A version number that is reserved for a training, and the id of that training's job."""

    version: int
    job_id: str


class Model(Struct, frozen=True):
    """A registered model. ``history``: the moves of its aliases, newest first; ``adopted``: versions found in the store."""

    name: str
    aliases: dict[str, int]
    cards: dict[int, Card]
    history: list[Move] = []
    notes: dict[int, list[str]] = {}
    adopted: frozenset[int] = frozenset()

    @property
    def champion(self) -> Card | None:
        return self.cards.get(self.aliases.get(CHAMPION, 0))


class Registry:
    """The registered models. ``guard`` runs each call to Redis, and decides its time-out and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard, max_models: int = 1000) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard
        self._max_models = max_models
        self._cards: dict[tuple[str, int], Card] = {}
        self._aliases: dict[tuple[str, str], int] = {}  # as of the last look-up
        self._reserve = client.register_script(RESERVE)
        self._next_version = client.register_script(NEXT_VERSION)
        self._abandon = client.register_script(ABANDON)
        self._compare_and_set = CompareAndSetScript(client, prefix, guard)

    def names(self) -> list[str]:
        return sorted(name.decode() for name in self._guard(lambda: self._redis.hkeys(self._prefix + "models")))

    def resolve(self, name: str, reference: str = CHAMPION) -> int | None:
        """Return the current version of a reference (a number or an alias), or None."""
        if _is_number(reference):
            return int(reference) if self._is_kept(name, int(reference)) else None
        found = self._guard(lambda: self._redis.hget(self._key(name), f"alias:{reference}"))
        if found is None:
            self._aliases.pop((name, reference), None)
            return None
        if len(self._aliases) >= MAX_CACHED:
            self._aliases.clear()
        self._aliases[name, reference] = int(found)
        return int(found)

    def look_up(self, name: str, reference: str = CHAMPION) -> Card | None:
        """Return the card of the current version of a reference, or None."""
        version = self.resolve(name, reference)
        return self.card(name, version) if version else None

    def cached_card(self, name: str, reference: str = CHAMPION) -> Card | None:
        """Return the card as of the last look-up, without a call to Redis; None if it is not cached. An alias may have moved
        since, so the caller passes ``expectation`` to the ledger."""
        version = int(reference) if _is_number(reference) else self._aliases.get((name, reference))
        return self._cards.get((name, version)) if version else None

    def expectation(self, name: str, reference: str, version: int) -> tuple[str, str, str]:
        """Return the hash key, field and value that hold while the reference stands for the version and the version is kept."""
        key = f"model:{name}"
        return (key, f"kept:{version}", "1") if _is_number(reference) else (key, f"alias:{reference}", str(version))

    def card(self, name: str, version: int) -> Card | None:
        """Return the card of a published version, or None. Cards never change, so they are cached."""
        known = self._cards.get((name, version))
        if known is None:
            found = self._guard(lambda: self._redis.hget(self._key(name), f"card:{version}"))
            if found is None:
                return None
            if len(self._cards) >= MAX_CACHED:
                self._cards.clear()
            known = self._cards.setdefault((name, version), from_json(found))
        return known

    def model(self, name: str) -> Model | None:
        """Return the whole model, or None. It has no cards until its first training has succeeded."""
        fields = self._guard(lambda: self._redis.hgetall(self._key(name)))
        if not fields and not self._guard(lambda: self._redis.hexists(self._prefix + "models", name)):
            return None
        text = {key.decode(): value for key, value in fields.items()}
        aliases = {key[6:]: int(value) for key, value in text.items() if key.startswith("alias:")}
        cards = {int(key[5:]): from_json(value) for key, value in text.items() if key.startswith("card:")}
        notes = {
            int(key[5:]): msgspec.json.decode(value, type=list[str]) for key, value in text.items() if key.startswith("note:")
        }
        adopted = frozenset(int(key[8:]) for key in text if key.startswith("adopted:"))
        return Model(name, aliases, dict(sorted(cards.items())), alias_history.read(text.get("moves", b"")), notes, adopted)

    def unadopted(self) -> dict[str, int]:
        """Return by model how many finished versions in the store are not registered, as of the training workers' last survey.
        `mldeploy models adopt` registers them."""
        found = self._guard(lambda: self._redis.hgetall(self._prefix + "unadopted"))
        return {name.decode(): int(count) for name, count in found.items()}

    def summaries(self, names: list[str]) -> list[tuple[int | None, list[int]]]:
        """Return for each name its champion and its versions, in one round trip and without the cards."""

        def read() -> Any:
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hget(self._key(name), f"alias:{CHAMPION}")
                pipe.hkeys(self._key(name))
            return pipe.execute()

        found = self._guard(read)
        return [
            (int(champion) if champion else None, sorted(int(key[5:]) for key in keys if key.startswith(b"card:")))
            for champion, keys in zip(found[::2], found[1::2], strict=True)
        ]

    def next_version(self, name: str) -> int:
        """Return a new version number; it is never used again, even if its training fails. Raises TooManyModels."""
        keys = [self._key(name), self._prefix + "models", self._prefix + "latest"]
        version = int(self._guard(lambda: self._next_version(keys=keys, args=[name, self._max_models])))
        if not version:
            raise TooManyModels(f"there are {self._max_models} models already; train one of those, or raise MLDEPLOY_MAX_MODELS")
        return version

    def reserve(self, name: str, job_id: str) -> Reservation:
        """Return the version that is reserved while there is no champion; the first caller reserves it for its own job.
        Raises NotAdopted if the store has versions: they are not replaced by a training that no client started."""
        keys = [self._key(name), *(self._prefix + key for key in ("models", "latest", "unadopted"))]
        version, holder = self._guard(lambda: self._reserve(keys=keys, args=[job_id, name]))
        if not version:
            raise NotAdopted(name)
        return Reservation(int(version), holder.decode())

    def abandon(self, name: str, reservation: Reservation) -> None:
        """Release a reservation whose training has failed, so that the next caller reserves another version."""
        self._guard(lambda: self._abandon(keys=[self._key(name)], args=[reservation.job_id]))

    def publication(
        self, card: Card, promote: bool, champion: int | None = None, who: str = "", why: str = ""
    ) -> list[CompareAndSet]:
        """Return the changes that publish a version and, with ``promote``, make it champion. They fail if the model has been
        deleted, or if ``champion``, the version that it was compared with, is not the champion any more."""
        key = f"model:{card.name}"
        changes = [
            CompareAndSet("models", card.name, "1", "1"),
            CompareAndSet(key, f"card:{card.version}", "", card.to_json()),
            CompareAndSet(key, f"kept:{card.version}", "", "1"),
        ]
        return changes + (self._move_changes(card.name, CHAMPION, champion, card.version, who, why) if promote else [])

    def adopt(self, card: Card) -> bool:
        """Register a version that is in the store. Returns False if its number is taken. Raises TooManyModels."""
        names = self.names()
        if card.name not in names:
            if len(names) >= self._max_models:
                raise TooManyModels(f"there are {self._max_models} models already: raise MLDEPLOY_MAX_MODELS")
            self.apply([CompareAndSet("models", card.name, "", "1")])
        adopted = CompareAndSet(f"model:{card.name}", f"adopted:{card.version}", "", "1")
        return self.apply([*self.publication(card, False), adopted])

    def apply(self, changes: Sequence[CompareAndSet]) -> bool:
        """Apply all changes if every field holds its expected value. Returns whether they were applied."""
        return self._compare_and_set.apply(changes)

    def move(self, name: str, alias: str, version: int, who: str, why: str) -> None:
        """Point an alias at a version. Raises UnknownModel, UnknownVersion, TooManyAliases or MovedMeanwhile."""
        for _ in range(MAX_ATTEMPTS):
            model = self.get(name)
            if version not in model.cards:
                raise UnknownVersion(f"{name} has no version {version}; it has {_listed(model)}")
            if model.aliases.get(alias) == version:
                return
            if alias not in model.aliases and len(model.aliases) >= MAX_ALIASES:
                raise TooManyAliases(f"{name} has {len(model.aliases)} aliases: take one away")
            kept = CompareAndSet(f"model:{name}", f"kept:{version}", "1", "1")
            if self.apply([kept, *self._move_changes(name, alias, model.aliases.get(alias), version, who, why)]):
                return
        raise MovedMeanwhile(f"the aliases of {name} keep moving")

    def roll_back(self, name: str, target: int, who: str, why: str) -> bool:
        """Move champion back to ``target``. Returns False if a rollback would restore another version by now. Raises
        UnknownModel or NothingToRollBackTo."""
        model = self.get(name)
        if alias_history.rollback_target(model.history, list(model.cards)) != target:
            return False
        kept = CompareAndSet(f"model:{name}", f"kept:{target}", "1", "1")
        champion = model.aliases.get(CHAMPION)
        return self.apply([kept, *self._move_changes(name, CHAMPION, champion, target, who, why, rollback=True)])

    def announce(self, name: str, version: int) -> None:
        """Announce a version that is made outside a training job, so that its files are not removed as leftovers."""
        self._guard(lambda: self._redis.set(f"{self._prefix}making:{name}/{version}", 1, ex=ANNOUNCEMENT_TTL))

    def is_announced(self, name: str, version: int) -> bool:
        return bool(self._guard(lambda: self._redis.exists(f"{self._prefix}making:{name}/{version}")))

    def remove_alias(self, name: str, alias: str, who: str, why: str) -> None:
        """Remove an alias. Raises UnknownModel, UnknownVersion or MovedMeanwhile."""
        for _ in range(MAX_ATTEMPTS):
            model = self.get(name)
            if alias not in model.aliases:
                raise UnknownVersion(f"{name} has no alias {alias}; it has {_listed(model)}")
            if self.apply(self._move_changes(name, alias, model.aliases[alias], None, who, why)):
                return
        raise MovedMeanwhile(f"the aliases of {name} keep moving")

    def note(self, name: str, version: int, text: str) -> None:
        """Add a note to a version. Raises MovedMeanwhile."""
        key, field = f"model:{name}", f"note:{version}"
        for _ in range(MAX_ATTEMPTS):
            was = (self._guard(lambda: self._redis.hget(self._key(name), field)) or b"").decode()
            notes = [*(msgspec.json.decode(was, type=list[str]) if was else []), text]
            if self.apply([CompareAndSet(key, field, was, msgspec.json.encode(notes).decode())]):
                return
        raise MovedMeanwhile(f"the notes of {name} keep changing")

    def get(self, name: str) -> Model:
        """Return the model. Raises UnknownModel."""
        model = self.model(name)
        if model is None:
            raise no_model(name, self.names())
        return model

    def delete(self, name: str) -> None:
        """Delete a model for good."""

        def delete() -> None:
            with self._redis.pipeline() as pipe:
                pipe.delete(self._key(name))
                pipe.hdel(self._prefix + "models", name)
                pipe.execute()

        self._guard(delete)

    def _move_changes(
        self, name: str, alias: str, from_: int | None, to: int | None, who: str, why: str, rollback: bool = False
    ) -> list[CompareAndSet]:
        key = f"model:{name}"
        log = (self._guard(lambda: self._redis.hget(self._key(name), "moves")) or b"").decode()
        logged = alias_history.with_move(log, alias, from_, to, who, why, rollback)
        return [
            CompareAndSet(key, f"alias:{alias}", str(from_ or ""), str(to or "")),
            CompareAndSet(key, "moves", log, logged, stamped=True),
        ]

    def _is_kept(self, name: str, version: int) -> bool:
        kept = bool(self._guard(lambda: self._redis.hexists(self._key(name), f"kept:{version}")))
        if not kept:
            self._cards.pop((name, version), None)
        return kept

    def _key(self, name: str) -> str:
        return f"{self._prefix}model:{name}"


def _is_number(reference: str) -> bool:
    return reference.isdecimal() and len(reference) < 10


def _listed(model: Model) -> str:
    return ", ".join(map(str, [*model.aliases, *model.cards])) or "none"
