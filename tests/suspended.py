"""Keeps workers from their work for a while: their processes are suspended, and their parents renew their leases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from jobs.job import Kind
from jobs.ledger import Ledger
from tests.processes import Pieces, until
from tests.service import Service


@contextmanager
def nobody_trains(service: Service) -> Iterator[None]:
    """Keep submitted trainings waiting during the block."""
    with suspended(service.ledger, lambda: service.children()["train"], Kind.TRAIN):
        yield


@contextmanager
def nobody_predicts(pieces: Pieces) -> Iterator[None]:
    """Keep submitted predictions waiting during the block. What was submitted before ends first."""
    (group,) = (running for running in pieces._running if running.name == Kind.PREDICT)
    until(lambda: not pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"), 20, "nothing is in hand")
    until(lambda: not pieces.ledger.waiting("predict.small"), 20, "nothing waits")
    with suspended(pieces.ledger, lambda: psutil.Process(group.popen.pid), Kind.PREDICT):
        yield


@contextmanager
def suspended(ledger: Ledger, parent: Callable[[], psutil.Process], kind: Kind) -> Iterator[None]:
    until(lambda: _settled(ledger, parent(), kind), 20, f"those who {kind} are there, and none is being replaced")
    processes = parent().children()
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _settled(ledger: Ledger, parent: psutil.Process, kind: Kind) -> bool:
    """Return whether each process has its lease and none is about to be ended for a canceled job."""
    processes, owners = {process.pid for process in parent.children()}, ledger.live_owners(kind)
    stopped = any(ledger.redis.exists(f"{ledger.prefix}stopped:{owner}") for owner in owners)
    return bool(processes) and not stopped and processes == {int(owner.rpartition(":")[2]) for owner in owners}
