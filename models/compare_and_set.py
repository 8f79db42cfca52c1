"""Compare-and-set on fields of Redis hashes, for the records of models and data sets: all fields are written, or none."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

Guard = Callable[[Callable[[], Any]], Any]

NOW = '"@now"'  # the first one in the value of a stamped field is replaced by Redis's time in ms

APPLY = """
for at = 1, #ARGV, 5 do
  if (redis.call('HGET', KEYS[1] .. ARGV[at], ARGV[at + 1]) or '') ~= ARGV[at + 2] then return 0 end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for at = 1, #ARGV, 5 do
  local key, value = KEYS[1] .. ARGV[at], ARGV[at + 3]
  if ARGV[at + 4] == '1' then value = string.gsub(value, '{NOW}', string.format('%d', now), 1) end
  if value == '' then redis.call('HDEL', key, ARGV[at + 1]) else redis.call('HSET', key, ARGV[at + 1], value) end
end
return 1
""".replace("{NOW}", NOW)


class CompareAndSet(NamedTuple):
    """Sets a field to ``value`` if it holds ``expected``. ``key`` is without the prefix. An empty ``expected`` means that the
    field does not exist; an empty ``value`` deletes it. ``stamped``: see NOW."""

    key: str
    field: str
    expected: str
    value: str
    stamped: bool = False


class CompareAndSetScript:
    """Applies changes outside of the script that ends a job. ``guard`` runs each call to Redis."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._script = client.register_script(APPLY)
        self._prefix = prefix
        self._guard = guard

    def apply(self, changes: Sequence[CompareAndSet]) -> bool:
        """Apply all changes if every field holds its expected value. Returns whether they were applied."""
        flat = [value for change in changes for value in (*change[:4], int(change.stamped))]
        return bool(self._guard(lambda: self._script(keys=[self._prefix], args=flat)))
