"""Before an alias moves, the workers load the version that it will stand for and ask it about an example, one after another, so
that no request waits for that, and none meets a version that cannot be loaded.

``<prefix>:2:rollouts``                  hash    "<name>/<version>" -> card: what is to be loaded now
``<prefix>:2:rollout:<name>/<version>``  hash    owner -> empty, or why it cannot
``<prefix>:2:loading:<name>/<version>``  string  the owner whose turn to load it is
"""

import threading
import time
from typing import Protocol

import redis

from models.card import Card, from_json
from models.compare_and_set import Guard

TICK = 0.02
ANNOUNCED = 120  # seconds; if whoever announced it dies
TURN = 30_000  # ms


class CannotServe(RuntimeError):
    """No worker can load the version; the message says why."""


class LiveWorkers(Protocol):
    """Those who are to load it."""

    def owners(self) -> list[str]: ...

    def wake(self) -> None:
        """Have one of them look what is announced."""


class Rollout:
    """``guard`` runs each call to Redis, and decides how long it may take and what it raises."""

    def __init__(self, client: redis.Redis, prefix: str, guard: Guard) -> None:
        self._redis = client
        self._prefix = prefix
        self._guard = guard

    # Those who move an alias

    def await_loaded(self, card: Card, live_workers: LiveWorkers, patience: float) -> None:
        """Until every live owner has loaded it, or ``patience`` seconds are over: one that is busy for longer loads it later.
        Raises CannotServe."""
        place = f"{card.name}/{card.version}"
        waits_for = live_workers.owners()
        if not waits_for:
            return
        self._announce(place, card)
        try:
            for _ in waits_for:
                live_workers.wake()
            self._await(card, place, live_workers, patience)
        finally:
            self._withdraw(place)

    def _await(self, card: Card, place: str, live_workers: LiveWorkers, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            live, answers = set(live_workers.owners()), self._answers(place)
            over = time.monotonic() > deadline
            if live <= set(answers) or over:
                break
            threading.Event().wait(TICK)
        _refuse_if_none_can(card, answers)
        loading = self._guard(lambda: self._redis.get(f"{self._prefix}loading:{place}"))
        if not answers and loading and loading.decode() not in live:
            raise CannotServe(f"{card.name} version {card.version} cannot be served: the worker that loaded it died")

    # Those who serve

    def asked_of(self, owner: str) -> list[tuple[str, int]]:
        """Name and version of what this owner is to load and has not answered yet."""
        found = [place.decode() for place in self._guard(lambda: self._redis.hkeys(self._prefix + "rollouts"))]
        open_ = [place for place in found if not self._guard(lambda: self._redis.hexists(self._rollout(place), owner))]  # noqa: B023
        places = [place.rpartition("/") for place in open_]
        return [(name, int(version)) for name, _, version in places]

    def card(self, name: str, version: int) -> Card:
        """Of the version that is announced; it need not be published yet. Raises LookupError."""
        text = self._guard(lambda: self._redis.hget(self._prefix + "rollouts", f"{name}/{version}"))
        if text is None:
            raise LookupError(f"{name} version {version} is not announced any more")
        return from_json(text)

    def take_turn(self, name: str, version: int, owner: str) -> bool:
        """Whether it is this owner's turn to load it: while one does, the others serve."""
        return bool(self._guard(lambda: self._redis.set(f"{self._prefix}loading:{name}/{version}", owner, nx=True, px=TURN)))

    def answer(self, name: str, version: int, owner: str, error: str) -> None:
        """It is loaded here, or why it cannot be; the turn is another's."""
        key = self._rollout(f"{name}/{version}")

        def answer() -> None:
            with self._redis.pipeline() as pipe:
                pipe.hset(key, owner, error)
                pipe.expire(key, ANNOUNCED)
                pipe.delete(f"{self._prefix}loading:{name}/{version}")
                pipe.execute()

        self._guard(answer)

    # Inside

    def _rollout(self, place: str) -> str:
        return f"{self._prefix}rollout:{place}"

    def _announce(self, place: str, card: Card) -> None:
        def announce() -> None:
            with self._redis.pipeline() as pipe:
                pipe.delete(self._rollout(place))
                pipe.hset(self._prefix + "rollouts", place, card.to_json())
                pipe.expire(self._prefix + "rollouts", ANNOUNCED)
                pipe.execute()

        self._guard(announce)

    def _withdraw(self, place: str) -> None:
        def withdraw() -> None:
            with self._redis.pipeline() as pipe:
                pipe.hdel(self._prefix + "rollouts", place)
                pipe.delete(self._rollout(place))
                pipe.execute()

        self._guard(withdraw)

    def _answers(self, place: str) -> dict[str, str]:
        found = self._guard(lambda: self._redis.hgetall(self._rollout(place)))
        return {owner.decode(): error.decode() for owner, error in found.items()}


def _refuse_if_none_can(card: Card, answers: dict[str, str]) -> None:
    errors = sorted({error for error in answers.values() if error})
    if answers and all(answers.values()):
        raise CannotServe(f"{card.name} version {card.version} cannot be served by any worker: {'; '.join(errors)[:500]}")
