"""Everything that a ledger has in Redis, read at one moment, and compared with the model."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import redis

from jobs.job import LANES, Kind
from jobs.ledger import Ledger
from jobs.redis_connection import connect
from settings import Settings
from tests.integration.ledger_model import Known, Model, kind_of

LOOK = """
local found, read = {}, {hash = 'HGETALL', string = 'GET', set = 'SMEMBERS', list = 'LRANGE', zset = 'ZRANGE'}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local type = redis.call('TYPE', key).ok
  local more = type == 'zset' and {0, -1, 'WITHSCORES'} or type == 'list' and {0, -1} or {}
  found[#found + 1] = {key, redis.call(read[type], key, unpack(more))}
end
return cmsgpack.pack(found)
"""
LEFT = {"sequence", "clock", "seen", "failed", "memory", "delayed:bytes", "model:m"}  # where nothing is left to do …
LEFT_OF_EACH = ("stopped:", "speed:", "asked:", "bells:", "starved:")  # … worker, lane or kind

_decoder = msgspec.msgpack.Decoder(list[tuple[str, Any]])


class Watched(redis.Redis):
    """Reads everything right after each script that changes anything, in the same round trip."""

    watches = True
    seen = b""
    reads: frozenset[str] = frozenset()  # scripts that change nothing

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        if sha in self.reads or not self.watches:
            return super().evalsha(sha, numkeys, *keys_and_args)
        pipe = self.pipeline(transaction=False)
        pipe.evalsha(sha, numkeys, *keys_and_args)
        pipe.eval(LOOK, 0)
        reply, self.seen = pipe.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def look(self) -> None:
        self.seen = cast("bytes", self.eval(LOOK, 0))


def watched(settings: Settings) -> tuple[Ledger, Watched]:
    client = Watched(connection_pool=connect(settings).connection_pool)
    ledger = Ledger(settings, client)
    client.reads = frozenset(ledger.script(name).sha for name in ("read", "list", "condition"))
    return ledger, client


class View:
    """Raises AssertionError if a key is not the ledger's own."""

    def __init__(self, seen: bytes, prefix: str) -> None:
        found = _decoder.decode(seen)
        assert [key for key, _ in found if not key.startswith(prefix)] == []
        self._all = {key.removeprefix(prefix): value for key, value in found}
        self._by_word = defaultdict[str, list[str]](list)
        for name in self._all:
            self._by_word[name.partition(":")[0]].append(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def names(self, start: str) -> list[str]:
        """Return what follows this prefix, of which the first word is whole."""
        return [name.removeprefix(start) for name in self._by_word[start.partition(":")[0]] if name.startswith(start)]

    def pairs(self, name: str) -> dict[str, str]:
        """Return a hash, or a sorted set's members and scores in order."""
        flat = self._all.get(name, [])
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def text(self, name: str) -> str | None:
        return self._all.get(name)


def agree(view: View, model: Model) -> None:
    """Raises AssertionError where the ledger differs from the model."""
    _jobs_agree(view, model)
    _lanes_agree(view, model)
    _owners_agree(view, model)
    expected = {f"{caller}:{key}": f"{job_id} {print_}" for (caller, key), (job_id, print_) in model.keys.items()}
    assert {name: view.text(f"key:{name}") for name in view.names("key:")} == expected
    assert view.pairs("model:m") == model.written
    final = [known for known in model.jobs.values() if known.final]
    assert set(view.pairs("finished")) == {known.id for known in final}
    counted = {field: int(view.pairs("memory").get(field, 0)) for field in ("open", "promised", "finished")}
    assert counted == model.memory
    assert set(view.pairs("delayed")) == {known.id for known in model.of("delayed")}
    assert int(view.text("delayed:bytes") or 0) == sum(known.size for known in model.of("delayed"))
    dated = {known.id for known in model.of("queued") if known.submit_options.expires_in and known.attempts == 0}
    assert set(view.pairs("deadlines")) == dated


def _jobs_agree(view: View, model: Model) -> None:
    assert set(view.names("job:")) == set(model.jobs)
    listed = defaultdict(list)
    newest = max((known.place or 0 for known in model.jobs.values()), default=0)
    for known in sorted(model.jobs.values(), key=lambda known: known.order):
        record = view.pairs(f"job:{known.id}")
        _record_agrees(record, known)
        if known.place is None and "place" in record:
            known.place = int(record["place"])
            assert known.place > newest
        if known.kind != Kind.WEBHOOK:
            listed[known.submit_options.caller].append(known.id)
    assert {caller: list(view.pairs(f"jobs:{caller}")) for caller in view.names("jobs:")} == listed


def _record_agrees(record: dict[str, str], known: Known) -> None:
    actual = record["state"], record.get("kind"), record.get("group"), int(record.get("attempts", 0)), record.get("caller", "")
    assert actual == (known.state, known.kind, known.group, known.attempts, known.submit_options.caller)
    assert bool(record.get("canceling")) == known.canceling
    if known.final:
        field = "result" if known.state == "succeeded" else "error"
        assert {"result", "error"} & set(record) == {field}
        assert record[field] == known.body.decode()
        assert not {"payload", "lane", "fence"} & set(record)
        return
    assert (int(record.get("fence", 0)), record["lane"], bool(record.get("alone"))) == (known.fence, known.lane, known.alone)
    if known.state == "running":
        assert record["worker"] == known.owner
    if known.place is not None:
        assert int(record["place"]) == known.place


def _lanes_agree(view: View, model: Model) -> None:
    for lane in (lane for lanes in LANES.values() for lane in lanes):
        waiting = model.waiting(lane)
        counted = tuple(int(view.pairs(f"lane:{lane}").get(field, 0)) for field in ("jobs", "rows", "bytes"))
        assert counted == (len(waiting), sum(known.rows for known in waiting), sum(known.size for known in waiting))
        assert set(view.pairs(f"lane:{lane}:groups")) == {known.group for known in waiting if not model.held_back(known)}
        start = f"lane:{lane}:waiting:"
        places = {group: {i: int(p) for i, p in view.pairs(start + group).items()} for group in view.names(start)}
        expected: dict[str, dict[str, int | None]] = defaultdict(dict)
        for known in waiting:
            expected[known.group][known.id] = known.place
        assert places == expected


def _owners_agree(view: View, model: Model) -> None:
    hands = {owner: list(view.pairs(f"held:{owner}")) for owner in view.names("held:")}
    assert hands == {owner: held for owner, held in model.hands.items() if held}
    assert set(view.names("stopped:")) == model.stopped
    for kind in LANES:
        assert set(view.pairs(f"owners:{kind}")) == {owner for owner in model.owners if kind_of(owner) == kind}
        canceling = {known.owner for known in model.of("running") if known.canceling and kind_of(known.owner) == kind}
        marked = set(view.pairs(f"canceling:{kind}"))
        assert marked == canceling if kind == Kind.TRAIN else marked <= canceling  # the others end at their finish


def nothing_is_left(view: View) -> None:
    """Check that nothing is left of work to be done or to be forgotten."""
    assert view.text("delayed:bytes") in (None, "0")
    assert {view.pairs("memory").get(field, "0") for field in ("open", "promised", "finished")} == {"0"}
    for name in set(view) - LEFT:
        lane = name.startswith("lane:") and set(view.pairs(name).values()) == {"0"}
        assert lane or name.startswith(LEFT_OF_EACH), f"{name} is left"
