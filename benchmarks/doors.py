"""What keys and limits cost: two services side by side, one without keys and one with a key that has a rate, by turns.

``python -m benchmarks.doors`` runs it alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from msgspec import Struct

from auth.keys import Keys
from benchmarks import systems
from benchmarks.measure import Measured, measure
from benchmarks.models import ROWS, Model, make_all
from benchmarks.report import Ratio
from benchmarks.systems import Running

KINDS = (("Prefer: wait", "mldeploy-waited"), ("submit and poll", "mldeploy-polled"))
CONNECTIONS = (1, 32, 128)
RATE = "1000000/s"  # every request is counted, and none is refused
TURNS = 4


class Door(Struct):
    """The same load on both, one right after the other."""

    what: str
    connections: int
    open: Measured
    keyed: Measured


def measure_doors(folder: Path, seconds: float) -> list[Door]:
    found = []
    with _service(folder / "open") as (without, model), _service(folder / "keyed") as (service, _):
        key = _make_a_key(service)
        for turn in range(TURNS):
            for what, dialect in KINDS:
                for connections in CONNECTIONS:
                    load = {"seconds": seconds, "rows": ROWS, "labels": model.labels}
                    pair = {
                        name: measure(running, name, what, dialect, connections, **load, key=given)
                        for name, running, given in _in_turn(turn, without, service, key)
                    }
                    found.append(Door(what, connections, pair["without keys"], pair["key and rate"]))
    return found


def ratios(doors: list[Door]) -> list[Ratio]:
    """Jobs per second with a key against without."""
    found = []
    for what, _ in KINDS:
        for connections in CONNECTIONS:
            each = [d for d in doors if (d.what, d.connections) == (what, connections)]
            ratio = median(d.keyed.report.jobs_per_second / d.open.report.jobs_per_second for d in each)
            found.append(Ratio(f"key and rate against none: {what}, {connections} connections, jobs/s", ratio, 0.9, 0.95))
    return found


def _in_turn(turn: int, without: Running, service: Running, key: str) -> list[tuple[str, Running, str]]:
    """Now one first and now the other."""
    pair = [("without keys", without, ""), ("key and rate", service, key)]
    return pair if turn % 2 == 0 else pair[::-1]


@contextmanager
def _service(folder: Path) -> Iterator[tuple[Running, Model]]:
    folder.mkdir()
    with systems.mldeploy(folder) as running:
        yield running, make_all(running, folder)["iris"]


def _make_a_key(running: Running) -> str:
    ledger = systems.ledger_of(running)
    return Keys(ledger.redis, ledger.prefix, ledger.guard).create("bench", ["predict"], RATE)[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for ratio in ratios(measure_doors(Path(name), 3.0)):
            print(f"{ratio.what}: {ratio.value:.2f} {ratio.verdict()}")


if __name__ == "__main__":
    main()
