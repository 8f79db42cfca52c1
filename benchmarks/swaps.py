"""What it costs those who are served that the version in service moves: the same load with and without promotions and rollbacks.

``python -m benchmarks.swaps`` measures this alone.
"""

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from msgspec import Struct

from benchmarks import systems
from benchmarks.measure import Measured, measure
from benchmarks.models import ROWS, TABLE
from benchmarks.report import Ratio
from benchmarks.systems import Running
from mldeploy.client import Client
from modeler import artifact

CONNECTIONS = 32
MOVES = 20
EVERY = 0.5  # seconds from the beginning of one move to that of the next
BEFORE = 6.0  # seconds
DURING = MOVES * EVERY + 2.0


NETWORK, FOREST = "a network of 8 MB", "a forest of 100 trees"  # the one is as fast as the tree, the other is not
OTHERS: dict[str, dict[str, Any]] = {
    NETWORK: {"estimator": "MLPClassifier", "params": {"hidden_layer_sizes": [500, 500], "max_iter": 20}},
    FOREST: {"estimator": "RandomForestClassifier"},
}


class Swaps(Struct):
    """``tree`` and ``other``: while that version serves; ``moving``: while they take turns. ``took``: seconds of each move."""

    what: str
    other: Measured
    tree: Measured
    moving: Measured
    took: list[float]

    def p99(self, name: str) -> float:
        """In milliseconds."""
        measured: Measured = getattr(self, name)
        return 1000 * measured.report.p99


def measure_swaps(running: Running) -> list[Swaps]:
    """The tree of iris serves, before and after. Others take its place and give it back, ten times each."""
    return [_measure(running, what, options) for what, options in OTHERS.items()]


def _measure(running: Running, what: str, options: dict[str, Any]) -> Swaps:
    client = Client(running.url)
    tree = client.model("iris")["aliases"]["champion"]
    other = client.train(model="iris", **options, promote="never").wait(60)["model"]["version"]
    plan = _agreed(running, client, tree, other)
    client.promote("iris", other)
    with_other = _load(running, f"Prefer: wait, {what}", BEFORE, plan)
    client.rollback("iris")
    before = _load(running, "Prefer: wait, the tree", BEFORE, plan)
    with ThreadPoolExecutor(1) as mover:
        moving = mover.submit(_move, client, other)
        during = _load(running, f"Prefer: wait, {MOVES} moves", DURING, plan)
        assert moving.done(), "the moves took longer than the load"
        return Swaps(what, with_other, before, during, moving.result())


def ratios(measured: list[Swaps]) -> list[Ratio]:
    """A forest is slower by itself: there the moves are held against the slower of the two."""
    by = {what: [each for each in measured if each.what == what] for what in OTHERS}
    before = [each.p99("moving") / each.p99("tree") for each in by[NETWORK]]
    slower = [each.p99("moving") / max(each.p99("tree"), each.p99("other")) for each in by[FOREST]]
    refused = max(each.moving.report.refused for each in measured)
    what = f"p99 during {MOVES} moves between a tree and"
    return [
        Ratio(f"{what} {NETWORK}, against just before", float(np.median(before)), 2, 2, most=True),
        Ratio(f"{what} {FOREST}, against the slower alone", float(np.median(slower)), 2, 2, most=True),
        Ratio("requests that failed during them", refused, 0, 0, "", most=True),
    ]


def summary(measured: list[Swaps]) -> str:
    """In words, beside the ratios."""
    return "\n".join(_summary_of(what, [each for each in measured if each.what == what]) for what in OTHERS)


def _summary_of(what: str, measured: list[Swaps]) -> str:
    tree, other, moving = (float(np.median([each.p99(name) for each in measured])) for name in ("tree", "other", "moving"))
    took = float(np.median([seconds for each in measured for seconds in each.took]))
    return (
        f"- p99 of iris, {CONNECTIONS} connections: {tree:.1f} ms with the tree, {other:.1f} ms with {what}, {moving:.1f} ms "
        f"while they take turns every {EVERY:g} s; a move takes {took:.2f} s."
    )


def _move(client: Client, other: int) -> list[float]:
    took, begin = list[float](), time.monotonic() + 1  # the load generator warms up
    for turn in range(MOVES):
        threading.Event().wait(max(0.0, begin + turn * EVERY - time.monotonic()))
        since = time.monotonic()
        if turn % 2:
            client.rollback("iris")
        else:
            client.promote("iris", other)
        took.append(time.monotonic() - since)
    return took


def _agreed(running: Running, client: Client, *versions: int) -> dict[str, Any]:
    """The rows of which the versions say the same, and what: an answer is right whichever served."""
    said = [_estimator(running, client, version).predict(TABLE.features).tolist() for version in versions]
    agreed = [place for place, labels in enumerate(zip(*said, strict=True)) if len(set(labels)) == 1]
    return {"rows": [ROWS[place] for place in agreed], "labels": [str(said[0][place]) for place in agreed]}


def _estimator(running: Running, client: Client, version: int) -> Any:
    folder = client.version("iris", version)["card"]["artifact"]["folder"]
    return joblib.load(running.home / "models" / folder / artifact.MODEL)


def _load(running: Running, what: str, seconds: float, plan: dict[str, Any]) -> Measured:
    return measure(running, "mldeploy", what, "mldeploy-waited", CONNECTIONS, seconds=seconds, **plan)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, systems.mldeploy(Path(folder)) as running:
        Client(running.url).train(model="iris").wait(60)
        measured = measure_swaps(running)
    for ratio in ratios(measured):
        print(f"{ratio.what}: {ratio.value:.2f} {ratio.unit}, {ratio.verdict()}")
    print(summary(measured))


if __name__ == "__main__":
    main()
