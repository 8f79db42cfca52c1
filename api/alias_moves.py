"""Moves aliases in separate threads: a move waits until workers have loaded the version, which must not block other requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 2
MAX_MOVES = 16  # running or waiting


class TooManyMoves(Exception):
    """The limit of concurrent moves is reached."""


class AliasMoves:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "alias-moves")
        self._running = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Runs the function in a thread, in the context of this request. Raises TooManyMoves."""
        if self._running >= MAX_MOVES:
            raise TooManyMoves("Aliases are being moved already; wait for those.")
        self._running += 1
        try:
            call = partial(copy_context().run, function, *args)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._running -= 1
