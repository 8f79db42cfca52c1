"""Moves of aliases, in threads of their own: the workers load the version first, and nobody else waits for that."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 2
MOST = 16  # under way or waiting


class TooManyMoves(Exception):
    """As many aliases are being moved as may be at once."""


class AliasMoves:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "swap")
        self._under_way = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """In the context of this request. Raises TooManyMoves."""
        if self._under_way >= MOST:
            raise TooManyMoves("Aliases are being moved already; wait for those.")
        self._under_way += 1
        try:
            call = partial(copy_context().run, function, *args)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._under_way -= 1
