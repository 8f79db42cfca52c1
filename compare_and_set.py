"""Compare-and-set on fields of Redis hashes, for the records of models and data sets: all fields are written, or none.

The ledger applies such changes in the script that ends a job, and CompareAndSetScript outside of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

Guard = Callable[[Callable[[], Any]], Any]

NOW = '"@now"'  # the first one in the value of a stamped field is replaced by Redis's time in ms

# ``changes``: key without prefix, field, expected value, value and '1' if stamped, for each change
LUA = """
local PER_CHANGE = 5
local function all_as_expected(prefix, changes, first, last)
  for at = first, last, PER_CHANGE do
    if (redis.call('HGET', prefix .. changes[at], changes[at + 1]) or '') ~= changes[at + 2] then return false end
  end
  return true
end
local function apply_changes(prefix, changes, first, last, now)
  for at = first, last, PER_CHANGE do
    local key, value = prefix .. changes[at], changes[at + 3]
    if changes[at + 4] == '1' then value = string.gsub(value, '{NOW}', string.format('%d', now), 1) end
    if value == '' then redis.call('HDEL', key, changes[at + 1]) else redis.call('HSET', key, changes[at + 1], value) end
  end
end
""".replace("{NOW}", NOW)

SCRIPT = (
    LUA
    + """
if not all_as_expected(KEYS[1], ARGV, 1, #ARGV) then return 0 end
local clock = redis.call('TIME')
apply_changes(KEYS[1], ARGV, 1, #ARGV, clock[1] * 1000 + math.floor(clock[2] / 1000))
return 1
"""
)


class CompareAndSet(NamedTuple):
    """Sets a field to ``value`` if it holds ``expected``. ``key`` is without the prefix. An empty ``expected`` means that the
    field does not exist; an empty ``value`` deletes it. ``stamped``: see NOW."""

    key: str
    field: str
    expected: str
    value: str
    stamped: bool = False


def as_arguments(changes: Sequence[CompareAndSet]) -> list[str | int]:
    return [value for change in changes for value in (*change[:4], int(change.stamped))]


class CompareAndSetScript:
    """Applies changes outside of the script that ends a job. ``guard`` runs each call to Redis."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._script = client.register_script(SCRIPT)
        self._prefix = prefix
        self._guard = guard

    def apply(self, changes: Sequence[CompareAndSet]) -> bool:
        """Apply all changes if every field holds its expected value. Returns whether they were applied."""
        return bool(self._guard(lambda: self._script(keys=[self._prefix], args=as_arguments(changes))))
