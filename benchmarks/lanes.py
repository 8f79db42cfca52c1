"""What a backlog of arrays of 10,000 rows does to singles of the same model. ``python -m benchmarks.lanes`` runs it alone."""

import tempfile
import time
from pathlib import Path
from statistics import median

from msgspec import Struct, json

from benchmarks import systems
from benchmarks.measure import Measured, measure
from benchmarks.models import ROWS, TABLE, Model, make_all
from benchmarks.report import Ratio
from benchmarks.systems import Running, ledger_of, stopped
from jobs.job import Job, Kind
from jobs.ledger import Ledger
from models.options import PredictOptions
from models.schema import Measurements

ARRAYS = 600
ROWS_EACH = 10_000
CONNECTIONS = 8
SECONDS = 4.0
ROUNDS = 3


class Lanes(Struct):
    """``waited``: arrays that still waited when the measurement ended."""

    idle: Measured
    beside: Measured
    waited: int


def measure_lanes(running: Running, model: Model) -> Lanes:
    ledger = ledger_of(running)
    idle = _singles(running, model, "singles, nothing else waits")
    with stopped(running, "predict"):
        _submit(ledger)
    beside = _singles(running, model, "singles, arrays wait")
    waited = ledger.waiting("predict.large")
    while ledger.waiting("predict.large"):
        time.sleep(0.5)
    return Lanes(idle, beside, waited)


def ratios(rounds: list[Lanes]) -> list[Ratio]:
    p95 = median(each.beside.report.p95 / each.idle.report.p95 for each in rounds)
    return [Ratio("singles while arrays of 10,000 rows wait, p95 against none waiting", p95, 3.0, 1.5, most=True)]


def summary(rounds: list[Lanes]) -> str:
    idle, beside = (1000 * median(each.report.p95 for each in found) for found in _parts(rounds))
    left = min(each.waited for each in rounds)
    return (
        f"p95 of singles on {CONNECTIONS} connections: {idle:.1f} ms with nothing else, {beside:.1f} ms while {ARRAYS} arrays of "
        f"{ROWS_EACH:,} rows were worked off (at least {left} of them still waited at the end)."
    )


def _parts(rounds: list[Lanes]) -> tuple[list[Measured], list[Measured]]:
    return [each.idle for each in rounds], [each.beside for each in rounds]


def _singles(running: Running, model: Model, what: str) -> Measured:
    return measure(running, "mldeploy", what, "mldeploy-waited", CONNECTIONS, seconds=SECONDS, rows=ROWS, labels=model.labels)


def _submit(ledger: Ledger) -> None:
    rows = [tuple(row) for row in TABLE.features.tolist()]
    payload = Measurements([rows[place % len(rows)] for place in range(ROWS_EACH)], single=False).pack()
    options = json.encode(PredictOptions())
    for _ in range(ARRAYS):
        ledger.add([Job(ledger.new_id(), Kind.PREDICT, "iris", 1, ROWS_EACH, payload, options)])


def main() -> None:
    with tempfile.TemporaryDirectory() as name, systems.mldeploy(Path(name)) as running:
        model = make_all(running, Path(name))["iris"]
        rounds = [measure_lanes(running, model) for _ in range(ROUNDS)]
        print(summary(rounds))
        for ratio in ratios(rounds):
            print(f"{ratio.what}: {ratio.value:.2f} {ratio.verdict()}")


if __name__ == "__main__":
    main()
