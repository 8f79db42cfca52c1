"""``python -m benchmarks.against_peers``: mldeploy beside MLServer, LitServe, BentoML tasks and Ray Serve, in one run."""

import tempfile
from pathlib import Path

import click

from benchmarks import systems
from benchmarks.__main__ import CONNECTIONS, POLLED, WAITED, folder_in, load_of
from benchmarks.measure import measure
from benchmarks.models import Model, make_all
from benchmarks.report import Ratio, Results, cpu_table, picture, ratio_table, table, write

SYNCHRONOUS = "synchronous"


@click.command()
@click.option("--seconds", default=4.0, show_default=True, help="of each measurement")
@click.option("--rounds", default=3, show_default=True, help="of everything; figures are medians")
def main(seconds: float, rounds: int) -> None:
    """Measure, print, and write docs/performance.md."""
    results = Results()
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            print(f"round {number + 1} of {rounds}", flush=True)
            models = measure_mldeploy(results, folder_in(name, "mldeploy"), seconds)
            measure_peers(results, name, models, seconds)
    report(results)


def measure_mldeploy(results: Results, folder: Path, seconds: float) -> dict[str, Model]:
    with systems.mldeploy(folder) as running:
        models = make_all(running, folder)
        tree, forest = load_of(models["iris"], seconds), load_of(models["forest"], seconds)
        for connections in CONNECTIONS:
            results.add(measure(running, "mldeploy", WAITED, "mldeploy-waited", connections, **tree))
        for connections in (32, 128):
            results.add(measure(running, "mldeploy", POLLED, "mldeploy-polled", connections, **tree))
        results.add(measure(running, "mldeploy", f"{WAITED}, forest", "mldeploy-waited", 32, **forest, model="forest"))
        return models


def measure_peers(results: Results, base: str, models: dict[str, Model], seconds: float) -> None:
    tree, forest = load_of(models["iris"], seconds), load_of(models["forest"], seconds)
    files = {name: model.file for name, model in models.items()}
    with systems.mlserver(folder_in(base, "mlserver"), files) as running:
        for connections in CONNECTIONS:
            results.add(measure(running, "MLServer", SYNCHRONOUS, "mlserver", connections, **tree))
        results.add(measure(running, "MLServer", f"{SYNCHRONOUS}, forest", "mlserver", 32, **forest, model="forest"))
    with systems.litserve(folder_in(base, "litserve"), files["iris"]) as running:
        for connections in (1, 32):
            results.add(measure(running, "LitServe", SYNCHRONOUS, "litserve", connections, **tree))
    with systems.bentoml(folder_in(base, "bentoml"), files["iris"]) as running:
        for connections in (32, 128):
            results.add(measure(running, "BentoML tasks", POLLED, "bentoml-polled", connections, **tree))
    with systems.ray(folder_in(base, "ray"), files["iris"]) as running:
        for connections in (1, 32):
            results.add(measure(running, "Ray Serve async", POLLED, "ray-polled", connections, **tree))


def report(results: Results) -> None:
    def against(ours: str, system: str, theirs: str, connections: int) -> float:
        return results.of("mldeploy", ours, connections) / results.of(system, theirs, connections)

    lone = results.of("mldeploy", WAITED, 1, "p50") / results.of("LitServe", SYNCHRONOUS, 1, "p50")
    forest = against(f"{WAITED}, forest", "MLServer", f"{SYNCHRONOUS}, forest", 32)
    by_32, by_128 = against(WAITED, "MLServer", SYNCHRONOUS, 32), against(WAITED, "MLServer", SYNCHRONOUS, 128)
    ratios = [
        Ratio(
            "`Prefer: wait`, 128 connections, against MLServer's synchronous",
            by_128,
            2,
            2.5,
        ),
        Ratio("the same at 32 connections", by_32, 1.5, 2),
        Ratio("submit and poll, 32 connections, against BentoML tasks", against(POLLED, "BentoML tasks", POLLED, 32), 7, 10),
        Ratio("the same at 128 connections", against(POLLED, "BentoML tasks", POLLED, 128), 7, 10),
        Ratio("lone `Prefer: wait` request, p50 against LitServe's synchronous p50", lone, 2.5, 1.5, most=True),
        Ratio("100-tree forest, one row a request, 32 connections, against MLServer", forest, 4, 6),
    ]
    parts = [ratio_table(ratios), table(results), cpu_table(results)]
    write("bench-peers", parts, picture(results, [WAITED, POLLED, SYNCHRONOUS]))


if __name__ == "__main__":
    main()
