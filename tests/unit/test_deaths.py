"""The parent knows how a process of Celery's pool ended, whichever code reaps it first."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.context import ForkContext

from tests.processes import until
from worker.deaths import Death, death_of


@pytest.fixture
def process() -> Iterator[Any]:
    started = ForkContext().Process(target=time.sleep, args=(60,))
    started.start()
    yield started
    started.terminate()
    started.join()


@pytest.mark.parametrize("reaped", [False, True])
def test_a_signal_is_known_before_and_after_the_process_is_reaped(process: Any, reaped: bool) -> None:
    assert death_of(process) is None
    process.terminate()
    if reaped:
        until(lambda: process.exitcode is not None, 10, "it is reaped")
    until(lambda: death_of(process) is not None, 10, "it has died")
    assert death_of(process) == Death(signal=signal.SIGTERM)


@pytest.mark.parametrize("reaped", [False, True])
def test_an_exit_status_is_known_before_and_after_the_process_is_reaped(reaped: bool) -> None:
    ends = ForkContext().Process(target=exit, args=(3,))
    ends.start()
    if reaped:
        ends.join()
    until(lambda: death_of(ends) is not None, 10, "it has died")
    assert death_of(ends) == Death(status=3)
    ends.join()
