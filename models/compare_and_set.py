"""Changes of what is known of models and data sets: fields of hashes, set if they still are what they were, all or none."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis

Guard = Callable[[Callable[[], Any]], Any]

NOW = '"@now"'  # in the value of a stamped change, the first of these becomes Redis's time in ms

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


class Change(NamedTuple):
    """``key`` is without the prefix. ``expected`` is empty for a field that is not there, ``value`` for one that is to go.
    ``stamped``: see NOW."""

    key: str
    field: str
    expected: str
    value: str
    stamped: bool = False


class Changes:
    """Makes them outside of a job's end."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._script = client.register_script(APPLY)
        self._prefix = prefix
        self._guard = guard

    def apply(self, changes: Sequence[Change]) -> bool:
        """Whether all were as expected, and so were made."""
        flat = [value for change in changes for value in (*change[:4], int(change.stamped))]
        return bool(self._guard(lambda: self._script(keys=[self._prefix], args=flat)))
