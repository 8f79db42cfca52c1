"""Before an alias moves, the workers load the new version and predict an example with it, one worker after another, so that no
request waits for the loading or reaches a version that cannot be loaded.

``<prefix>:2:rollouts``                  hash    "<name>/<version>" -> card, of each version to load
``<prefix>:2:rollout:<name>/<version>``  hash    owner -> empty if it has loaded it, or the error
``<prefix>:2:loading:<name>/<version>``  string  the owner that is loading it
"""

import threading
import time
from typing import Protocol

import redis

from compare_and_set import Guard
from models.card import Card, from_json

POLL_INTERVAL = 0.02  # seconds
ANNOUNCEMENT_TTL = 120  # seconds; it ends an announcement whose process died
TURN_TTL = 30_000  # ms


class CannotServe(RuntimeError):
    """No worker can load the version; the message says why."""


class LiveWorkers(Protocol):
    """The workers that serve predictions."""

    def owners(self) -> list[str]: ...

    def send_wakeup(self) -> None:
        """Wake one worker, so that it looks for announced versions."""


class Rollout:
    """Announces versions and collects reports. ``guard`` runs each call to Redis, and decides its time-out and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard

    # For the process that moves an alias

    def await_loaded(self, card: Card, live_workers: LiveWorkers, timeout: float) -> None:
        """Wait until every live worker has loaded the version, for at most ``timeout`` seconds: a busy worker loads it later.
        Raises CannotServe if none can."""
        place = f"{card.name}/{card.version}"
        owners = live_workers.owners()
        if not owners:
            return
        self._announce(place, card)
        try:
            for _ in owners:
                live_workers.send_wakeup()
            self._await(card, place, live_workers, timeout)
        finally:
            self._withdraw(place)

    def _await(self, card: Card, place: str, live_workers: LiveWorkers, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            live, reports = set(live_workers.owners()), self._reports(place)
            timed_out = time.monotonic() > deadline
            if live <= set(reports) or timed_out:
                break
            threading.Event().wait(POLL_INTERVAL)
        _raise_if_none_can(card, reports)
        loading = self._guard(lambda: self._redis.get(f"{self._prefix}loading:{place}"))
        if not reports and loading and loading.decode() not in live:
            raise CannotServe(f"{card.name} version {card.version} cannot be served: the worker that loaded it died")

    # For the workers

    def pending(self, owner: str) -> list[tuple[str, int]]:
        """Return the names and versions that this owner has not reported on yet."""
        found = [place.decode() for place in self._guard(lambda: self._redis.hkeys(self._prefix + "rollouts"))]
        open_ = [place for place in found if not self._guard(lambda: self._redis.hexists(self._rollout(place), owner))]  # noqa: B023
        places = [place.rpartition("/") for place in open_]
        return [(name, int(version)) for name, _, version in places]

    def card(self, name: str, version: int) -> Card:
        """Return the card of an announced version, published or not. Raises LookupError."""
        text = self._guard(lambda: self._redis.hget(self._prefix + "rollouts", f"{name}/{version}"))
        if text is None:
            raise LookupError(f"{name} version {version} is not announced any more")
        return from_json(text)

    def take_turn(self, name: str, version: int, owner: str) -> bool:
        """Take the turn to load a version, so that the other workers serve meanwhile. Returns False if another has it."""
        return bool(self._guard(lambda: self._redis.set(f"{self._prefix}loading:{name}/{version}", owner, nx=True, px=TURN_TTL)))

    def report(self, name: str, version: int, owner: str, error: str) -> None:
        """Report that the owner has loaded the version, or the error if it could not, and release the turn."""
        key = self._rollout(f"{name}/{version}")

        def report() -> None:
            with self._redis.pipeline() as pipe:
                pipe.hset(key, owner, error)
                pipe.expire(key, ANNOUNCEMENT_TTL)
                pipe.delete(f"{self._prefix}loading:{name}/{version}")
                pipe.execute()

        self._guard(report)

    def _rollout(self, place: str) -> str:
        return f"{self._prefix}rollout:{place}"

    def _announce(self, place: str, card: Card) -> None:
        def announce() -> None:
            with self._redis.pipeline() as pipe:
                pipe.delete(self._rollout(place))
                pipe.hset(self._prefix + "rollouts", place, card.to_json())
                pipe.expire(self._prefix + "rollouts", ANNOUNCEMENT_TTL)
                pipe.execute()

        self._guard(announce)

    def _withdraw(self, place: str) -> None:
        def withdraw() -> None:
            with self._redis.pipeline() as pipe:
                pipe.hdel(self._prefix + "rollouts", place)
                pipe.delete(self._rollout(place))
                pipe.execute()

        self._guard(withdraw)

    def _reports(self, place: str) -> dict[str, str]:
        found = self._guard(lambda: self._redis.hgetall(self._rollout(place)))
        return {owner.decode(): error.decode() for owner, error in found.items()}


def _raise_if_none_can(card: Card, reports: dict[str, str]) -> None:
    errors = sorted({error for error in reports.values() if error})
    if reports and all(reports.values()):
        raise CannotServe(f"{card.name} version {card.version} cannot be served by any worker: {'; '.join(errors)[:500]}")
