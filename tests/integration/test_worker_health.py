"""What a container's health check asks of a worker's host."""

import socket

from jobs.job import Kind
from jobs.ledger import Ledger
from tests.integration.jobs import added
from worker.health import is_well

OWNER = f"{socket.gethostname()}-1-1"


def test_a_host_is_well_while_a_worker_of_it_has_a_lease(ledger: Ledger) -> None:
    assert not is_well(ledger, Kind.PREDICT)
    ledger.renew(Kind.PREDICT, ["elsewhere-1-1"])
    assert not is_well(ledger, Kind.PREDICT)
    ledger.renew(Kind.PREDICT, [OWNER])
    assert is_well(ledger, Kind.PREDICT)


def test_a_host_whose_work_waits_unheard_is_not_well(ledger: Ledger) -> None:
    added(ledger, 1)
    ledger.renew(Kind.PREDICT, [OWNER])
    assert is_well(ledger, Kind.PREDICT)
    long_ago = int(ledger.redis.time()[0] * 1000 - 1_000_000)
    ledger.redis.set(f"{ledger.prefix}starved:predict", long_ago)
    assert not is_well(ledger, Kind.PREDICT)


def test_asking_writes_nothing(ledger: Ledger) -> None:
    added(ledger, 1)
    ledger.renew(Kind.PREDICT, [OWNER])
    ledger.redis.delete(f"{ledger.prefix}starved:predict")
    before = {key: ledger.redis.dump(key) for key in ledger.redis.scan_iter(f"{ledger.prefix}*")}
    is_well(ledger, Kind.PREDICT)
    assert {key: ledger.redis.dump(key) for key in ledger.redis.scan_iter(f"{ledger.prefix}*")} == before
