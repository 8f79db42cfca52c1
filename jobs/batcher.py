"""Calls that are in flight at the same moment share one: each asks for its item, and all that wait are done in one go.

Databases share one sync to disk between transactions in the same way. A lone call is done at once; under load the calls that
come while one is done are done together by the next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from jobs.errors import LedgerUnavailable
from jobs.pipelined_redis import settle

T = TypeVar("T")
R = TypeVar("R")

MAX_WAITING = 10_000


class _Pending(Generic[T, R]):
    __slots__ = ("answer", "item", "weight")

    def __init__(self, item: T, weight: int, answer: "asyncio.Future[R]") -> None:
        self.item = item
        self.weight = weight
        self.answer = answer


class Batcher(Generic[T, R]):
    """To be asked on one event loop. ``do`` gets items and gives an answer, or an error, for each; what it raises is the
    error of all. It gets at most ``most`` items of at most ``weight`` together, or one that is heavier.

    A call that others share lingers for so many seconds, for more to come; a lone one does not.
    """

    def __init__(
        self, do: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], most: int, weight: int, linger: float = 0.0
    ) -> None:
        self._do = do
        self._linger = linger
        self._shared = False  # was the last call
        self._most = most
        self._weight = weight
        self._asked: list[_Pending[T, R]] = []
        self._doing: asyncio.Task[None] | None = None

    def ask(self, item: T, weight: int = 1) -> "asyncio.Future[R]":
        """Raises LedgerUnavailable if too many wait already."""
        if len(self._asked) >= MAX_WAITING:
            raise LedgerUnavailable("too many are asking at once")
        loop = asyncio.get_running_loop()
        pending: _Pending[T, R] = _Pending(item, weight, loop.create_future())
        self._asked.append(pending)
        if self._doing is None:  # it begins in the next turn of the loop, with all that were asked in this one
            self._doing = loop.create_task(self._do_all())
        return pending.answer

    async def _do_all(self) -> None:
        while self._asked:
            if self._linger and (self._shared or len(self._asked) > 1):
                await asyncio.sleep(self._linger)
            share = self._share()
            del self._asked[: len(share)]
            self._shared = len(share) > 1
            _deliver(share, await self._answers(share))
        self._doing = None

    def _share(self) -> list[_Pending[T, R]]:
        weight = 0
        for place, pending in enumerate(self._asked[: self._most]):
            weight += pending.weight
            if weight > self._weight and place:
                return self._asked[:place]
        return self._asked[: self._most]

    async def _answers(self, share: list[_Pending[T, R]]) -> Sequence[R | Exception]:
        try:
            return await self._do([pending.item for pending in share])
        except Exception as error:  # noqa: BLE001 - it is told to each who asked
            return [error] * len(share)


def _deliver(share: list[_Pending[T, R]], answers: Sequence[R | Exception]) -> None:
    for pending, answer in zip(share, answers, strict=True):
        settle(pending.answer, answer)
