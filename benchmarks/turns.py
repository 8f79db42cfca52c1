"""``python -m benchmarks.turns OTHER``: this checkout's service by turns with another one's, under the same load generator.

OTHER is a checkout with a virtual environment of its own in ``.venv`` (``make install``). Both services run all the time; each
turn measures one right after the other, now one first and now the other. A ratio is this one's jobs a second against the other's.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click

from benchmarks import systems
from benchmarks.doors import KINDS
from benchmarks.measure import Measured, measure
from benchmarks.models import ROWS, make_all
from benchmarks.systems import Running
from mldeploy.client import Client

CONNECTIONS = (32, 128)
OURS, THEIRS = "this", "other"

Pair = dict[str, Measured]


class Side(NamedTuple):
    """``unfinished``: the path of a job that does not end."""

    name: str
    running: Running
    unfinished: str


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--turns", default=6, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="of each measurement")
@click.option("--only", type=click.Choice([what for what, _ in KINDS]), help="one kind of load")
@click.option("--connections", multiple=True, type=int, default=CONNECTIONS, show_default=True)
def main(other: Path, turns: int, seconds: float, only: str | None, connections: tuple[int, ...]) -> None:
    """Measure, and print the ratio of each load with its turns."""
    with ExitStack() as stack:
        folder, other = Path(stack.enter_context(tempfile.TemporaryDirectory())), other.resolve()
        for name in (OURS, THEIRS):
            (folder / name).mkdir()
        ours = stack.enter_context(systems.mldeploy(folder / OURS))
        theirs = stack.enter_context(systems.mldeploy(folder / THEIRS, other, str(other / ".venv" / "bin" / "python")))
        labels = make_all(ours, folder / OURS)["iris"].labels
        Client(theirs.url).train(model="iris").wait(60)
        running = {OURS: ours, THEIRS: theirs}
        sides = [Side(name, each, stack.enter_context(systems.no_training(each))) for name, each in running.items()]
        for what, dialect in KINDS if only is None else [kind for kind in KINDS if kind[0] == only]:
            for number in connections:
                load = {"dialect": dialect, "connections": number, "seconds": seconds, "rows": ROWS, "labels": labels}
                pairs = [measure_pair(what, sides if turn % 2 == 0 else sides[::-1], load) for turn in range(turns)]
                print(summary(what, number, pairs), flush=True)


def measure_pair(what: str, sides: list[Side], load: dict[str, Any]) -> Pair:
    """One turn: both sides, one right after the other. While clients poll, one more reads a job that does not end."""
    polls = load["dialect"] == "mldeploy-polled"
    return {side.name: measure(side.running, side.name, what, **load, probe=side.unfinished if polls else "") for side in sides}


def summary(what: str, connections: int, pairs: list[Pair], ours: str = OURS, theirs: str = THEIRS) -> str:
    """Ratio of the medians, the ratio of each turn, and each process's seconds of CPU per 1,000 jobs."""

    def rate(side: str) -> float:
        return median(pair[side].report.jobs_per_second for pair in pairs)

    each = ", ".join(f"{p[ours].report.jobs_per_second / p[theirs].report.jobs_per_second:.2f}" for p in pairs)
    lines = [f"{what}, {connections} connections: {rate(ours) / rate(theirs):.2f} ({each})"]
    for side in (ours, theirs):
        used = {name: median(p[side].cpu.get(name, 0.0) for p in pairs) for name in sorted(pairs[0][side].cpu)}
        polls = median(p[side].report.polls_per_job for p in pairs)
        cpu = ", ".join(f"{name} {seconds:.3f}" for name, seconds in used.items())
        lines.append(f"  {side}: {rate(side):,.0f} jobs/s, {polls:.2f} polls a job; CPU s per 1,000 jobs: {cpu}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
