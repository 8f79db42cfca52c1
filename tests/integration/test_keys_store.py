"""Keys on a real Redis, and the command that makes them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from auth.keys import MAX_KEYS, BadKey, Key, Keys, NameTaken, TooManyKeys, UnknownKey
from jobs.ledger import Ledger
from mldeploy.local.main import main
from settings import Settings
from tests.commands import on_a_terminal
from tests.processes import Pieces, until
from tests.terminal import screen


@pytest.fixture
def keys(ledger: Ledger) -> Keys:
    return Keys(ledger.redis, ledger.prefix, ledger.guard)


@pytest.fixture
def was_announced(ledger: Ledger) -> Iterator[Callable[[str], bool]]:
    """Return a check of whether this id was published on the channel of keys."""
    listener, announced = ledger.redis.pubsub(), set[bytes]()  # type: ignore[no-untyped-call]
    listener.subscribe(ledger.prefix + "keys")
    until(listener.get_message, 5, "it listens")

    def is_announced(id_: str) -> bool:
        while message := listener.get_message():
            announced.add(message["data"])
        return id_.encode() in announced

    yield is_announced
    listener.close()


def seed(ledger: Ledger, count: int, revoked: int = 0) -> None:
    """Store keys; number 0 was the first to be revoked."""
    made = [
        Key(f"{n:010x}", f"key {n}", ("predict",), "", "0" * 64, "2026-01-01", f"2026-01-02T{n:06}" if n < revoked else None)
        for n in range(count)
    ]
    ledger.redis.hset(ledger.prefix + "keys", mapping={key.id: msgspec.json.encode(key) for key in made})


def test_key_is_found_by_its_token_until_it_is_revoked(keys: Keys) -> None:
    assert not keys.key_set().closed
    key, token = keys.create("alice", ["train", "predict"], "100/m")
    assert (key.name, key.scopes, key.rate, key.revoked_at) == ("alice", ("predict", "train"), "100/60", None)
    assert keys.key_set().find(token) == key
    assert keys.revoke("alice").id == key.id
    key_set = keys.key_set()
    assert key_set.find(token) is None
    assert key_set.closed


def test_a_rotated_key_is_the_same_with_another_token(keys: Keys, was_announced: Callable[[str], bool]) -> None:
    key, token = keys.create("alice", ["predict"], "100/m")
    held = keys.key_set().find(token)
    assert held is not None
    rotated, renewed = keys.rotate("alice")
    key_set = keys.key_set()
    assert (key_set.find(token), key_set.has(held)) == (None, False)
    assert key_set.find(renewed) == rotated == msgspec.structs.replace(key, hash=rotated.hash)
    until(lambda: was_announced(key.id), 5, "the change is announced")
    keys.revoke("alice")
    with pytest.raises(UnknownKey):
        keys.rotate(key.id)


def test_redis_never_has_the_secret(keys: Keys, ledger: Ledger) -> None:
    key, token = keys.create("alice", ["predict"])
    kept = str(ledger.redis.hgetall(ledger.prefix + "keys"))
    assert token.removeprefix(f"mld_{key.id}_") not in kept
    assert key.hash in kept


def test_new_and_revoked_keys_are_announced(ledger: Ledger, keys: Keys, was_announced: Callable[[str], bool]) -> None:
    key, _ = keys.create("alice", ["predict"])
    until(lambda: was_announced(key.id), 5, "the new key is announced")
    seed(ledger, 1)
    keys.revoke("key 0")
    until(lambda: was_announced(f"{0:010x}"), 5, "the revoked key is announced")


def test_active_keys_have_distinct_names(keys: Keys) -> None:
    first, _ = keys.create("alice", ["predict"])
    with pytest.raises(NameTaken, match="alice"):
        keys.create("alice", ["train"])
    keys.revoke("alice")
    second, _ = keys.create("alice", ["train"])
    assert keys.revoke("alice").id == second.id
    assert [key.id for key in keys.all()] == [first.id, second.id]


def test_two_concurrent_keys_cannot_share_a_name(keys: Keys) -> None:
    def make(name: str) -> int:
        with suppress(NameTaken):
            keys.create(name, ["predict"])
            return 1
        return 0

    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            assert sum(pool.map(make, [f"key {n}"] * 8)) == 1


def test_revoking_twice_changes_nothing(keys: Keys) -> None:
    key, _ = keys.create("alice", ["predict"])
    assert keys.revoke(key.id) == keys.revoke(key.id)


def test_unknown_key_error_lists_the_known_ones(keys: Keys) -> None:
    keys.create("alice", ["predict"])
    with pytest.raises(UnknownKey, match="no active key bob; there are: alice"):
        keys.revoke("bob")


def test_invalid_keys_are_not_stored(keys: Keys) -> None:
    for name, scopes, rate in (("", ["predict"], ""), ("alice", [], ""), ("alice", ["predict"], "often")):
        with pytest.raises(BadKey):
            keys.create(name, scopes, rate)
    assert keys.all() == []


def test_number_of_active_keys_is_limited(keys: Keys, ledger: Ledger) -> None:
    seed(ledger, MAX_KEYS - 1)
    keys.create("the last", ["predict"])
    with pytest.raises(TooManyKeys, match="revoke one"):
        keys.create("one too many", ["predict"])
    assert len(keys.all()) == MAX_KEYS


def test_oldest_revoked_keys_are_removed_for_new_ones(keys: Keys, ledger: Ledger) -> None:
    seed(ledger, MAX_KEYS, revoked=2)
    key, _ = keys.create("new", ["predict"])
    ids = {key.id for key in keys.all()}
    assert f"{0:010x}" not in ids
    assert {f"{1:010x}", key.id} < ids
    assert len(ids) == MAX_KEYS


# The command


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments], env=settings.environment())


def test_the_token_is_alone_on_the_last_line_and_listed_never(settings: Settings, keys: Keys) -> None:
    made = run(settings, "create", "--name", "alice", "--scopes", "predict, train", "--rate", "100/m")
    assert made.exit_code == 0, made.output
    found = keys.key_set().find(made.stdout.splitlines()[-1])
    assert found
    assert (found.name, found.scopes, found.rate) == ("alice", ("predict", "train"), "100/60")
    assert all(word in made.stderr for word in (found.id, "predict, train", "100/60s", "shown this once"))
    listed = run(settings, "list").stdout
    assert listed.count("\n") == 1
    assert json.loads(listed)["keys"] == [found.shown() | {"scopes": ["predict", "train"], "rate": "100/60s"}]
    assert found.hash not in listed


def test_the_first_key_closes_the_service_and_says_so(settings: Settings) -> None:
    assert "from now on every request" in run(settings, "create", "--name", "first").stderr
    assert "from now on" not in run(settings, "create", "--name", "second").stderr
    run(settings, "revoke", "first")
    run(settings, "revoke", "second")
    assert "from now on" not in run(settings, "create", "--name", "third").stderr


def test_a_key_is_revoked_by_its_name(settings: Settings, keys: Keys) -> None:
    token = run(settings, "create", "--name", "alice").stdout.strip()
    assert run(settings, "revoke", "alice").exit_code == 0
    assert keys.key_set().find(token) is None


def test_a_key_is_rotated_by_its_name(settings: Settings, keys: Keys) -> None:
    token = run(settings, "create", "--name", "alice").stdout.strip()
    rotated = run(settings, "rotate", "alice").stdout.splitlines()[-1]
    assert (keys.key_set().find(token), keys.key_set().find(rotated) is None) == (None, False)


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["create"], "--name"),
        (["create", "--name", ""], "1 to 64 printable"),
        (["create", "--name", "a", "--scopes", "root"], "predict, train, admin"),
        (["create", "--name", "a", "--scopes", ""], "predict, train, admin"),
        (["create", "--name", "a", "--rate", "100"], "100/30s"),
        (["create", "--name", "taken"], "choose another name"),
        (["revoke", "nobody"], "there are: taken"),
        (["rotate", "nobody"], "there are: taken"),
        (["revoke"], "NAME_OR_ID"),
    ],
)
def test_bad_options_are_refused_with_what_is_allowed(settings: Settings, keys: Keys, arguments: list[str], instead: str) -> None:
    keys.create("taken", ["predict"])
    result = run(settings, *arguments)
    assert result.exit_code == 2
    assert instead in " ".join(result.stderr.split())
    assert len(keys.all()) == 1


def test_without_a_redis_it_says_what_to_start(tmp_path: Path) -> None:
    result = run(Settings(), "list", "--home", str(tmp_path))
    assert result.exit_code == 1
    assert f"mldeploy up --home {tmp_path}" in result.stderr
    result = run(Settings(redis_url=f"unix://{tmp_path}/none.sock"), "list")
    assert result.exit_code == 1
    assert "MLDEPLOY_REDIS_URL" in result.stderr


def test_the_redis_of_a_home_is_found_and_a_terminal_gets_a_table(tmp_path: Path) -> None:
    pieces = Pieces(Settings(), tmp_path)
    try:
        pieces.redis()
        home = ["--home", str(tmp_path)]
        assert run(Settings(), "create", "--name", "alice", *home).exit_code == 0
        for columns, headings in (120, ["ID", "NAME", "SCOPES", "RATE", "CREATED", "REVOKED"]), (40, ["ID", "NAME", "REVOKED"]):
            status, seen = on_a_terminal("keys", "list", *home, columns=columns)
            heading, row = screen(seen, columns)
            assert (status, heading.split(), row.split()[1]) == (0, headings, "alice")
        assert json.loads(on_a_terminal("keys", "list", "--json", *home)[1])["keys"][0]["name"] == "alice"
    finally:
        pieces.stop()
