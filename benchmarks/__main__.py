"""``python -m benchmarks``: mldeploy beside the usual tutorial and the limits, in one run, side by side."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks import doors, lanes, swaps, systems
from benchmarks.backlog import Backlog, measure_backlog
from benchmarks.measure import measure
from benchmarks.models import ROWS, Model, make_all
from benchmarks.report import Ratio, Results, cpu_table, picture, ratio_table, table, write

POLLED, WAITED, ARRAY = "submit and poll", "Prefer: wait", "array of 10,000 rows"
CONNECTIONS = (1, 32, 128)


class Beside(NamedTuple):
    """What is measured of mldeploy alone."""

    backlogs: list[Backlog]
    swaps: list[swaps.Swaps]
    lanes: list[lanes.Lanes]
    doors: list[doors.Door]


@click.command()
@click.option("--seconds", default=4.0, show_default=True, help="of each measurement")
@click.option("--rounds", default=2, show_default=True, help="of everything; figures are medians")
def main(seconds: float, rounds: int) -> None:
    """Measure, print, and write docs/performance.md."""
    results, limits, beside = Results(), list[dict[str, float]](), Beside([], [], [], [])
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            print(f"round {number + 1} of {rounds}", flush=True)
            models = measure_mldeploy(results, folder_in(name, "always"), seconds, beside)
            measure_everysec(results, folder_in(name, "everysec"), seconds)
            tree = models["iris"]
            for name_of in ("iris", "forest", "pipeline"):
                measure_tutorial(results, folder_in(name, f"tutorial-{name_of}"), name_of, models[name_of], seconds)
            with systems.bare_flask(folder_in(name, "flask"), tree.file) as running:
                for connections in CONNECTIONS:
                    results.add(
                        measure(running, "bare Flask", "predict in the view", "flask", connections, **load_of(tree, seconds))
                    )
            limits.append(measure_limits(models))
    with tempfile.TemporaryDirectory() as name:
        beside.doors.extend(doors.measure_doors(Path(name), seconds))
    report(results, {what: float(np.median([each[what] for each in limits])) for what in limits[0]}, beside)


def folder_in(base: str, name: str) -> Path:
    folder = Path(base) / name
    folder.mkdir()
    return folder


def load_of(model: Model, seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "rows": ROWS, "labels": model.labels}


def measure_mldeploy(results: Results, folder: Path, seconds: float, beside: Beside) -> dict[str, Model]:
    """As it comes: two predict processes, append-only file, appendfsync always."""
    with systems.mldeploy(folder) as running:
        models = make_all(running, folder)
        tree = load_of(models["iris"], seconds)
        for connections in CONNECTIONS:
            results.add(measure(running, "mldeploy", WAITED, "mldeploy-waited", connections, **tree))
        with systems.no_training(running) as unfinished:
            for connections in CONNECTIONS:
                results.add(measure(running, "mldeploy", POLLED, "mldeploy-polled", connections, **tree, probe=unfinished))
        results.add(measure(running, "mldeploy", ARRAY, "mldeploy-array", 1, **tree, rows_each=10_000))
        for name in ("forest", "pipeline"):
            for connections in (1, 32):
                plan = {**load_of(models[name], seconds), "model": name}
                results.add(measure(running, "mldeploy", f"{WAITED}, {name}", "mldeploy-waited", connections, **plan))
                results.add(measure(running, "mldeploy", f"{POLLED}, {name}", "mldeploy-polled", connections, **plan))
        beside.swaps.extend(swaps.measure_swaps(running))
        beside.lanes.append(lanes.measure_lanes(running, models["iris"]))
        beside.backlogs.append(measure_backlog(running, models["iris"]))
        return models


def measure_tutorial(results: Results, folder: Path, name: str, model: Model, seconds: float) -> None:
    with systems.tutorial(folder, model.file) as running:
        for connections in CONNECTIONS if name == "iris" else (1, 32):
            what = POLLED if name == "iris" else f"{POLLED}, {name}"
            results.add(measure(running, "tutorial", what, "tutorial-polled", connections, **load_of(model, seconds)))


def measure_everysec(results: Results, folder: Path, seconds: float) -> None:
    with systems.mldeploy(folder, appendfsync="everysec") as running:
        tree = load_of(make_all(running, folder)["iris"], seconds)
        for connections in CONNECTIONS:
            results.add(measure(running, "mldeploy (everysec)", WAITED, "mldeploy-waited", connections, **tree))


def measure_limits(models: dict[str, Model]) -> dict[str, float]:
    """Rows a second of the bare models, one row at a time; and of 10,000 rows as JSON, in and out."""
    values = [list(row.values()) for row in ROWS]
    found = {f"bare predict, {name}": _rate(_one_by_one(model, values), len(values)) for name, model in models.items()}
    body = json.dumps([ROWS[place % len(ROWS)] for place in range(10_000)])

    def array() -> str:
        rows = [list(row.values()) for row in json.loads(body)]
        said = models["iris"].estimator.predict(np.asarray(rows)).tolist()
        return json.dumps({"predictions": [{"prediction": label} for label in said]})

    return {**found, "bare loads + predict + dumps": _rate(array, 10_000)}


def _one_by_one(model: Model, values: list[list[float]]) -> Callable[[], object]:
    return lambda: [model.estimator.predict([row]) for row in values]


def _rate(function: Callable[[], object], rows: int) -> float:
    function()
    since, times = time.perf_counter(), 0
    while time.perf_counter() - since < 1.5:
        function()
        times += 1
    return times * rows / (time.perf_counter() - since)


def report(results: Results, limits: dict[str, float], beside: Beside) -> None:
    backlogs = beside.backlogs

    def of(field: str) -> float:
        return float(np.median([getattr(each, field) for each in backlogs]))

    slower = [b.behind.report.jobs_per_second / b.empty.report.jobs_per_second for b in backlogs]
    later = [b.empty.report.p95 / b.behind.report.p95 for b in backlogs]
    probes = [1000 * results.of("mldeploy", POLLED, connections, "poll_p95") for connections in (32, 128)]
    found = [
        Ratio("submit and poll, 32 connections, against the tutorial", _against(results, 32), 3, 4),
        Ratio("submit and poll, 128 connections, against the tutorial", _against(results, 128), 4, 5),
        Ratio("GET of an unfinished job under that load, 32 connections, p95", probes[0], 25, 10, "ms", most=True),
        Ratio("GET of an unfinished job under that load, 128 connections, p95", probes[1], 25, 10, "ms", most=True),
        Ratio(
            "array of 10,000 rows, rows/s against bare loads + predict + dumps",
            results.of("mldeploy", ARRAY, 1) / limits["bare loads + predict + dumps"],
            0.5,
            0.8,
        ),
        Ratio("Redis memory per finished single prediction", of("bytes_per_job") / 1000, 1.2, 0.8, "KB", most=True),
        Ratio("singles while 100,000 others wait, jobs/s against an empty queue", float(np.median(slower)), 0.7, 0.9),
        Ratio("the same, p95 (empty / behind)", float(np.median(later)), 0.7, 0.9),
        *swaps.ratios(beside.swaps),
        *lanes.ratios(beside.lanes),
        *doors.ratios(beside.doors),
    ]
    bare = "\n".join(f"- {what}: {rate:,.0f} rows/s" for what, rate in limits.items())
    left = f"{of('waited'):,.0f} of the 100,000 still waited at the end of that measurement."
    parts = [
        ratio_table(found),
        f"{left}\n\n{swaps.summary(beside.swaps)}\n\n{lanes.summary(beside.lanes)}",
        table(results),
        "One process, nothing around it:",
        bare,
        cpu_table(results),
    ]
    write("bench", parts, picture(results, [WAITED, POLLED, "predict in the view"]))


def _against(results: Results, connections: int) -> float:
    return results.of("mldeploy", POLLED, connections) / results.of("tutorial", POLLED, connections)


if __name__ == "__main__":
    main()
