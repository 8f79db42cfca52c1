"""What a backlog of 100,000 jobs of one model does to singles of another, and what a finished job costs Redis's memory."""

import time

from msgspec import Struct, json

from benchmarks.measure import Measured, measure
from benchmarks.models import ROWS, TABLE, Model
from benchmarks.systems import Running, ledger_of, stopped
from jobs.job import Job, Kind
from jobs.ledger import Ledger
from models.options import PredictOptions
from models.schema import Measurements

JOBS = 100_000
AT_ONCE = 500
CONNECTIONS = 8
SECONDS = 5.0


class Backlog(Struct):
    """``bytes_per_job``: of Redis's memory, once all have finished, indexes included."""

    empty: Measured
    behind: Measured
    waited: int  # jobs that waited at the end of the measurement
    bytes_per_job: float


def measure_backlog(running: Running, model: Model) -> Backlog:
    ledger = ledger_of(running)
    empty = _singles(running, model, "singles, nothing else waits")
    before, finished = _memory(ledger), _finished(ledger)
    with stopped(running, "predict"):  # or half of them would be done before the last is in
        _submit(ledger, JOBS)
    behind = _singles(running, model, "singles, 100,000 others wait")
    waited = ledger.waiting("predict.small")
    while ledger.waiting("predict.small"):
        time.sleep(0.5)
    time.sleep(1)
    return Backlog(empty, behind, waited, (_memory(ledger) - before) / (_finished(ledger) - finished))


def _singles(running: Running, model: Model, what: str) -> Measured:
    return measure(running, "mldeploy", what, "mldeploy-waited", CONNECTIONS, seconds=SECONDS, rows=ROWS, labels=model.labels)


def _submit(ledger: Ledger, count: int) -> None:
    """Singles of the forest, straight into the ledger."""
    rows = [Measurements([tuple(row)], single=True).pack() for row in TABLE.features.tolist()]
    options = json.encode(PredictOptions(single=True))
    for start in range(0, count, AT_ONCE):
        jobs = [
            Job(ledger.new_id(), Kind.PREDICT, "forest", 1, 1, rows[(start + place) % len(rows)], options)
            for place in range(AT_ONCE)
        ]
        ledger.add(jobs)


def _memory(ledger: Ledger) -> int:
    return int(ledger.redis.info("memory")["used_memory"])


def _finished(ledger: Ledger) -> int:
    return int(ledger.redis.zcard(ledger.prefix + "finished"))
