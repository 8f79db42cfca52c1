"""The health check of a worker's container."""

import socket

from jobs.job import Kind
from jobs.ledger import Ledger
from tests.integration.jobs import added
from worker.health import is_well

OWNER = f"{socket.gethostname()}-1-1"


def test_host_is_healthy_while_one_of_its_workers_has_a_lease(ledger: Ledger) -> None:
    assert not is_well(ledger, Kind.PREDICT)
    ledger.renew(Kind.PREDICT, ["elsewhere-1-1"])
    assert not is_well(ledger, Kind.PREDICT)
    ledger.renew(Kind.PREDICT, [OWNER])
    assert is_well(ledger, Kind.PREDICT)


def test_host_with_unclaimed_work_is_unhealthy(ledger: Ledger) -> None:
    added(ledger, 1)
    ledger.renew(Kind.PREDICT, [OWNER])
    assert is_well(ledger, Kind.PREDICT)
    long_ago = int(ledger.redis.time()[0] * 1000 - 1_000_000)
    ledger.redis.set(f"{ledger.prefix}starved:predict", long_ago)
    assert not is_well(ledger, Kind.PREDICT)


def test_health_check_writes_nothing(ledger: Ledger) -> None:
    added(ledger, 1)
    ledger.renew(Kind.PREDICT, [OWNER])
    ledger.redis.delete(f"{ledger.prefix}starved:predict")
    before = {key: ledger.redis.dump(key) for key in ledger.redis.scan_iter(f"{ledger.prefix}*")}
    is_well(ledger, Kind.PREDICT)
    assert {key: ledger.redis.dump(key) for key in ledger.redis.scan_iter(f"{ledger.prefix}*")} == before
