"""An event loop in its own thread, and the way in which threads of a WSGI server wait for coroutines on it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

STOP_TIMEOUT = 5.0  # seconds for coroutines to end when the loop is closed


class LoopThread:
    """Runs an event loop until it is closed or the process ends."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = Thread(target=self._run, name="event loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def close(self) -> None:
        """Cancels all tasks and stops the loop."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(STOP_TIMEOUT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(STOP_TIMEOUT)


def check_not_on_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises RuntimeError on the loop's own thread, where waiting for the loop would be a deadlock."""
    if asyncio._get_running_loop() is loop:
        raise RuntimeError("a hook on the event loop may not wait for it: make it `async def`, or serve with a WSGI server")


class WaitingThread:
    """A thread that waits for a coroutine on the loop, and meanwhile runs the functions that the coroutine passes to ``run``.

    The coroutine runs in the context of the caller, so flask.request is available.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls = SimpleQueue[Callable[[], None] | None]()

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns the result of the coroutine, or raises its error. Must not be called on the loop's own thread."""
        try:
            check_not_on_loop(self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        done.add_done_callback(lambda _: self._calls.put(None))
        try:
            while call := self._calls.get():
                call()
            return done.result()
        except BaseException:
            done.cancel()
            raise

    async def run(self, function: Callable[[], T]) -> T:
        """Runs the function in the waiting thread. The coroutine calls this. Raises what the function raises."""
        future = self._loop.create_future()

        def call() -> None:
            try:
                outcome: Any = function()
            except Exception as error:  # noqa: BLE001 - raised again in the coroutine
                self._settle(future.set_exception, future, error)
            else:
                self._settle(future.set_result, future, outcome)

        self._calls.put(call)
        result: T = await future
        return result

    def _settle(self, set_: Callable[[Any], None], future: "asyncio.Future[Any]", outcome: Any) -> None:
        def settle() -> None:
            if not future.done():
                set_(outcome)

        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(settle)


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
