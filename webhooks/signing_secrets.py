"""The secrets with which webhooks are signed, one for each caller.

``<prefix>webhook-secrets``  hash  caller -> JSON: current, previous, rotated_at (seconds, on Redis's clock)
"""

from collections.abc import Callable
from typing import Any, cast

import redis

from webhooks.signature import new_secret

Guard = Callable[[Callable[[], Any]], Any]

OLD_SIGNS_FOR = 86_400  # seconds

# ARGV: caller, a new secret, 1 to have it instead of what there is, seconds that the previous one signs. Returns those that sign.
SECRETS = """
local now, kept = tonumber(redis.call('TIME')[1]), redis.call('HGET', KEYS[1], ARGV[1])
local told = kept and cjson.decode(kept)
if not told or ARGV[3] == '1' then
  told = {current = ARGV[2], previous = told and told.current or nil, rotated_at = now}
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(told))
end
if told.previous and now - told.rotated_at < tonumber(ARGV[4]) then return {told.current, told.previous} end
return {told.current}
"""


class Secrets:
    """``guard`` runs each call to Redis, and decides how long it may take and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._script = client.register_script(SECRETS)
        self._key = f"{prefix}webhook-secrets"
        self._guard = guard

    def of(self, caller: str) -> list[str]:
        """Those that sign for a caller, the current one first. The first is made when it is asked for."""
        return self._run(caller, rotate=False)

    def current(self, caller: str) -> str:
        return self.of(caller)[0]

    def rotate(self, caller: str) -> str:
        """A new one. The one before signs too for a day, so that a receiver has time to change over."""
        return self._run(caller, rotate=True)[0]

    def _run(self, caller: str, rotate: bool) -> list[str]:
        arguments: list[str | int] = [caller, new_secret(), int(rotate), OLD_SIGNS_FOR]
        found = self._guard(lambda: self._script(keys=[self._key], args=arguments))
        return [secret.decode() for secret in cast("list[bytes]", found)]
