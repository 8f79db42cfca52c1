"""An event loop in a thread of its own, and how the threads of a WSGI server wait for what runs there."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

STOP = 5.0  # seconds that what still runs on the loop gets at its end


class LoopThread:
    """Runs until it is closed, or the process ends."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = Thread(target=self._run, name="event loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def close(self) -> None:
        """Whatever waits on the loop is canceled."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(STOP)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(STOP)


def check_is_elsewhere(loop: asyncio.AbstractEventLoop) -> None:
    """Raises RuntimeError on the loop's own thread, where waiting for the loop would have no end."""
    if asyncio._get_running_loop() is loop:
        raise RuntimeError("a hook on the event loop may not wait for it: make it `async def`, or serve with a WSGI server")


class WaitingThread:
    """The thread that called, while a coroutine works for it on the loop: it does what that coroutine wants done in a thread.

    The coroutine runs in the caller's context: flask.request is there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wanted = SimpleQueue[Callable[[], None] | None]()

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Raises what the coroutine raises. Not to be called on the loop's own thread."""
        try:
            check_is_elsewhere(self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        done.add_done_callback(lambda _: self._wanted.put(None))
        try:
            while work := self._wanted.get():
                work()
            return done.result()
        except BaseException:
            done.cancel()
            raise

    async def do(self, function: Callable[[], T]) -> T:
        """Called by the coroutine. Raises what the function raises."""
        future = self._loop.create_future()

        def work() -> None:
            try:
                outcome: Any = function()
            except Exception as error:  # noqa: BLE001 - raised where it was wanted
                self._settle(future.set_exception, future, error)
            else:
                self._settle(future.set_result, future, outcome)

        self._wanted.put(work)
        found: T = await future
        return found

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
