"""API keys. A token is shown once, when its key is created; only a hash of it is stored.

``<prefix>keys``  hash     <id> -> the key, as JSON
                  channel  the id of a key that was created, revoked or rotated
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec
import redis
from msgspec import Struct
from redis.client import Pipeline

Guard = Callable[[Callable[[], Any]], Any]
Scope = Literal["predict", "train", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
MAX_KEYS = 1000
MAX_NAME = 64
MAX_REQUESTS, MAX_SECONDS = 1_000_000, 86_400
SECONDS = {"s": 1, "m": 60, "h": 3600}

_TOKEN = re.compile(r"mld_([0-9a-f]{10})_([A-Za-z0-9_-]{43})")
_RATE = re.compile(r"([0-9]{1,7})/([0-9]{1,5})?([smh])")


class BadKey(ValueError):
    """A key cannot be created with these values; the message says which are valid."""


class NameTaken(ValueError):
    """An active key has this name."""


class TooManyKeys(RuntimeError):
    """There are MAX_KEYS active keys."""


class UnknownKey(LookupError):
    """No key has this id, and no active key has this name; the message lists active keys."""


class Key(Struct, frozen=True):
    """A revoked key is kept: a service that ever had a key stays closed to requests without one."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    rate: str  # "100/60": requests/seconds; empty: no limit
    hash: str  # sha256 of the token's secret part
    created_at: str
    revoked_at: str | None = None
    format: int = 1

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def shown(self) -> dict[str, Any]:
        """The fields that may be shown: all but the hash."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if name not in ("hash", "format")}

    def __repr__(self) -> str:
        return f"Key({self.shown()})"


NOBODY = Key("", "", (), "", "0" * 64, "", revoked_at="always")


class KeySet:
    """All keys at one moment."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = {key.id: key for key in keys}
        self._verified: dict[str, Key] = {}  # by token: hashing it for each request costs more than all else

    @property
    def closed(self) -> bool:
        """Whether a request needs a key: true once any key was created."""
        return bool(self._keys)

    def has(self, key: Key) -> bool:
        """Whether this key is among them and active, and its token has not been rotated since."""
        known = self._keys.get(key.id)
        return known is not None and known.revoked_at is None and known.hash == key.hash

    def find(self, token: str) -> Key | None:
        """The active key of this token. An unknown id takes as long as a known one."""
        return self._verified.get(token) or self._verify(token)

    def _verify(self, token: str) -> Key | None:
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        key = self._keys.get(found[1], NOBODY)
        same = hmac.compare_digest(_hash(found[2]), key.hash)
        if not same or key.revoked_at is not None:
            return None
        self._verified[token] = key  # at most one token for each active key
        return key


class Keys:
    """``guard`` runs each call to Redis, and decides how long it may take and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._redis = client
        self._name = prefix + "keys"
        self._guard = guard

    @property
    def channel(self) -> str:
        """The channel to which each change is published."""
        return self._name

    def create(self, name: str, scopes: Iterable[str], rate: str = "") -> tuple[Key, str]:
        """Create a key. Returns it and its token. ``rate``: as in parse_rate. Raises BadKey, NameTaken, TooManyKeys."""
        secret = secrets.token_urlsafe(32)
        limit = parse_rate(rate) if rate else ""
        key = Key(secrets.token_hex(5), check_name(name), check_scopes(scopes), limit, _hash(secret), _now())

        def added(known: dict[str, Key]) -> Key:
            if any(other.name == name for other in _active(known)):
                raise NameTaken(f"there is an active key named {name}: choose another name, or revoke that one first")
            return key

        self._write(added)
        return key, f"mld_{key.id}_{secret}"

    def revoke(self, reference: str) -> Key:
        """Revoke a key, by its id, or by its name if it is active. Raises UnknownKey."""

        def revoked(known: dict[str, Key]) -> Key:
            key = known.get(reference) or _found(known, reference)
            return msgspec.structs.replace(key, revoked_at=key.revoked_at or _now())

        return self._write(revoked)

    def rotate(self, reference: str) -> tuple[Key, str]:
        """Create a new token for an active key, by its id or name; the rest of the key stays. The old token is invalid at once.
        Raises UnknownKey."""
        secret = secrets.token_urlsafe(32)
        key = self._write(lambda known: msgspec.structs.replace(_found(known, reference), hash=_hash(secret)))
        return key, f"mld_{key.id}_{secret}"

    def all(self) -> list[Key]:
        """All keys, the oldest first."""
        return sorted(_decoded(self._guard(lambda: self._redis.hgetall(self._name))).values(), key=lambda key: key.created_at)

    def key_set(self) -> KeySet:
        return KeySet(self.all())

    def _write(self, change: Callable[[dict[str, Key]], Key]) -> Key:
        """Store and publish the key that ``change`` returns for the known keys; repeat this if another client has changed them
        meanwhile."""

        def write(pipe: Pipeline) -> Any:
            known = _decoded(pipe.hgetall(self._name))
            key = change(known)
            pipe.multi()
            if key.id not in known and len(known) >= MAX_KEYS:
                pipe.hdel(self._name, _oldest_revoked(known))
            pipe.hset(self._name, key.id, msgspec.json.encode(key))
            pipe.publish(self.channel, key.id)
            return key

        key: Key = self._guard(lambda: self._redis.transaction(write, self._name, value_from_callable=True))
        return key


def is_token(text: str) -> bool:
    """Whether this has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def check_name(name: str) -> str:
    """The name, if it is valid. Raises BadKey."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise BadKey(f"a name has 1 to {MAX_NAME} printable characters, and no space before or after them")
    return name


def check_scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes in the order of SCOPES, without duplicates. Raises BadKey."""
    requested = set(scopes)
    if not requested or requested - set(SCOPES):
        raise BadKey(f"scopes are one or more of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in requested)


def parse_rate(text: str) -> str:
    """Convert ``100/m``, ``5/s``, ``1000/h`` or ``100/30s`` to requests/seconds. Raises BadKey."""
    found = _RATE.fullmatch(text)
    requests, seconds = (int(found[1]), int(found[2] or 1) * SECONDS[found[3]]) if found else (0, 0)
    if not (1 <= requests <= MAX_REQUESTS and 1 <= seconds <= MAX_SECONDS):
        raise BadKey(
            f"a rate is like 100/m, 5/s, 1000/h or 100/30s: at most {MAX_REQUESTS} requests, in at most {MAX_SECONDS} seconds"
        )
    return f"{requests}/{seconds}"


def _found(known: dict[str, Key], reference: str) -> Key:
    """The active key with this id or name. Raises UnknownKey."""
    key = next((key for key in _active(known) if reference in (key.id, key.name)), None)
    if key is None:
        names = ", ".join(sorted(other.name for other in _active(known))[:10])
        raise UnknownKey(f"there is no active key {reference}; there are: {names or 'none'}")
    return key


def _active(known: dict[str, Key]) -> list[Key]:
    return [key for key in known.values() if key.revoked_at is None]


def _oldest_revoked(known: dict[str, Key]) -> str:
    """The id of the key that was revoked first. Raises TooManyKeys if none is revoked."""
    revoked = [(key.revoked_at, key.id) for key in known.values() if key.revoked_at]
    if not revoked:
        raise TooManyKeys(f"there are {MAX_KEYS} active keys, as many as may be: revoke one that nobody uses")
    return min(revoked)[1]


def _decoded(fields: Any) -> dict[str, Key]:
    return {id_.decode(): msgspec.json.decode(text, type=Key) for id_, text in fields.items()}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
