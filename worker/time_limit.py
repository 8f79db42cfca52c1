"""A claim's soft time limit. Celery enforces the hard one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TimeLimit(BaseException):
    """The work ran over its time limit. Not an Exception, so that a model's own `except Exception` lets it through."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeLimit inside the block after ``seconds``. Only for the main thread, where Celery's pool runs tasks."""

    def over(*_: Any) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
