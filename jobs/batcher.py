"""Concurrent calls on an event loop are batched: each submits an item, and one call handles all pending items.

Databases share one sync to disk between transactions in the same way. A single call is handled at once; under load, the calls
that arrive while a batch is in progress form the next batch.
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
    __slots__ = ("future", "item", "weight")

    def __init__(self, item: T, weight: int, future: "asyncio.Future[R]") -> None:
        self.item = item
        self.weight = weight
        self.future = future


class Batcher(Generic[T, R]):
    """To be used on one event loop. ``handle`` gets a list of items and returns a result, or an exception, for each; an exception
    that it raises goes to all callers of the batch. A batch has at most ``max_items`` items with a total weight of at most
    ``max_weight``, or one heavier item.

    ``delay``: seconds that a batch waits for more items after a batch with several callers; a single call never waits.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        max_items: int,
        max_weight: int,
        delay: float = 0.0,
    ) -> None:
        self._handle = handle
        self._delay = delay
        self._was_shared = False  # whether the last batch had several callers
        self._max_items = max_items
        self._max_weight = max_weight
        self._pending: list[_Pending[T, R]] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: T, weight: int = 1) -> "asyncio.Future[R]":
        """Raises LedgerUnavailable if too many items are pending."""
        if len(self._pending) >= MAX_WAITING:
            raise LedgerUnavailable("too many are asking at once")
        loop = asyncio.get_running_loop()
        pending: _Pending[T, R] = _Pending(item, weight, loop.create_future())
        self._pending.append(pending)
        if self._task is None:  # it starts in the loop's next iteration, with all items that were submitted in this one
            self._task = loop.create_task(self._handle_all())
        return pending.future

    async def _handle_all(self) -> None:
        while self._pending:
            if self._delay and (self._was_shared or len(self._pending) > 1):
                await asyncio.sleep(self._delay)
            batch = self._next_batch()
            del self._pending[: len(batch)]
            self._was_shared = len(batch) > 1
            _resolve(batch, await self._results(batch))
        self._task = None

    def _next_batch(self) -> list[_Pending[T, R]]:
        weight = 0
        for index, pending in enumerate(self._pending[: self._max_items]):
            weight += pending.weight
            if weight > self._max_weight and index:
                return self._pending[:index]
        return self._pending[: self._max_items]

    async def _results(self, batch: list[_Pending[T, R]]) -> Sequence[R | Exception]:
        try:
            return await self._handle([pending.item for pending in batch])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            return [error] * len(batch)


def _resolve(batch: list[_Pending[T, R]], results: Sequence[R | Exception]) -> None:
    for pending, result in zip(batch, results, strict=True):
        settle(pending.future, result)
