"""The secrets that sign webhooks, one for each caller.

``<prefix>webhook-secrets``  hash  caller -> JSON: current, previous, rotated_at (seconds, on Redis's clock)
"""

from collections.abc import Callable
from typing import Any, cast

import redis

from webhooks.signature import new_secret

Guard = Callable[[Callable[[], Any]], Any]

ROTATION_WINDOW = 86_400  # seconds after a rotation in which the previous secret signs too

# ARGV: caller, a new secret, 1 to rotate, seconds that the previous secret stays valid. Returns the valid secrets.
SECRETS = """
local now, stored = tonumber(redis.call('TIME')[1]), redis.call('HGET', KEYS[1], ARGV[1])
local entry = stored and cjson.decode(stored)
if not entry or ARGV[3] == '1' then
  entry = {current = ARGV[2], previous = entry and entry.current or nil, rotated_at = now}
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(entry))
end
if entry.previous and now - entry.rotated_at < tonumber(ARGV[4]) then return {entry.current, entry.previous} end
return {entry.current}
"""


class Secrets:
    """``guard`` runs each call to Redis, and decides its time-out and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._script = client.register_script(SECRETS)
        self._key = f"{prefix}webhook-secrets"
        self._guard = guard

    def of(self, caller: str) -> list[str]:
        """The valid secrets of a caller, the current one first. The first secret is created on demand."""
        return self._run(caller, rotate=False)

    def current(self, caller: str) -> str:
        return self.of(caller)[0]

    def rotate(self, caller: str) -> str:
        """Creates a new secret. The previous one signs too for a day, so that a receiver has time to switch."""
        return self._run(caller, rotate=True)[0]

    def _run(self, caller: str, rotate: bool) -> list[str]:
        arguments: list[str | int] = [caller, new_secret(), int(rotate), ROTATION_WINDOW]
        found = self._guard(lambda: self._script(keys=[self._key], args=arguments))
        return [secret.decode() for secret in cast("list[bytes]", found)]
