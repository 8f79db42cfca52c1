"""What was measured, as tables and a picture, written into docs/performance.md between the markers of its command."""

import platform
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil
from msgspec import Struct

from benchmarks.measure import Measured
from mldeploy.local.server_choice import choose_server

DOCS = Path(__file__).parent.parent / "docs"
PACKAGES = ("scikit-learn", "celery", "flask", "uvloop", "httptools", "redis", "hiredis")
BAR, LEFT, WIDTH = 18, 330, 420  # px


class Ratio(Struct):
    """``floor`` and ``target`` are lower bounds, or upper ones if ``most``."""

    what: str
    value: float
    floor: float
    target: float
    unit: str = "×"
    most: bool = False

    def verdict(self) -> str:
        if self.reaches(self.target):
            return "target reached"
        return "floor reached" if self.reaches(self.floor) else "**missed**"

    def reaches(self, bound: float) -> bool:
        return self.value <= bound if self.most else self.value >= bound


class Results:
    """Every measurement of every round; each figure is the median of its rounds."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str, int], list[Measured]] = defaultdict(list)

    def add(self, measured: Measured) -> None:
        self._rounds[measured.system, measured.what, measured.connections].append(measured)

    def measured(self) -> list[tuple[str, str, int]]:
        return list(self._rounds)

    def of(self, system: str, what: str, connections: int, field: str = "jobs_per_second") -> float:
        return float(median(getattr(m.report, field) for m in self._rounds[system, what, connections]))

    def cpu(self, key: tuple[str, str, int]) -> dict[str, float]:
        names = {name for m in self._rounds[key] for name in m.cpu}
        return {name: median(m.cpu.get(name, 0.0) for m in self._rounds[key]) for name in sorted(names)}

    def memory(self, key: tuple[str, str, int]) -> float:
        return median(m.memory for m in self._rounds[key])


def table(results: Results) -> str:
    head = "| system | what | connections | jobs/s | p50 ms | p90 ms | p99 ms | polls per job | refused | memory MB |"
    rows = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for key in results.measured():
        system, what, connections = key
        times = " | ".join(f"{1000 * results.of(*key, each):.1f}" for each in ("p50", "p90", "p99"))
        polls, refused = results.of(*key, "polls_per_job"), results.of(*key, "refused")
        size = results.memory(key) / 1e6
        rest = f"{polls:.1f} | {refused:.0f} | {size:,.0f}"
        rows.append(f"| {system} | {what} | {connections} | {results.of(*key):,.0f} | {times} | {rest} |")
    return "\n".join(rows)


def cpu_table(results: Results) -> str:
    rows = ["| system | what | connections | CPU seconds per 1,000 jobs, by process |", "|---|---|--:|---|"]
    for key in results.measured():
        used = ", ".join(f"{name} {seconds:.2f}" for name, seconds in results.cpu(key).items() if seconds >= 0.01)
        rows.append(f"| {key[0]} | {key[1]} | {key[2]} | {used} |")
    return "\n".join(rows)


def ratio_table(ratios: list[Ratio]) -> str:
    rows = ["| | measured | floor | target | |", "|---|--:|--:|--:|---|"]
    for r in ratios:
        sign = "≤" if r.most else "≥"
        rows.append(
            f"| {r.what} | {r.value:.2f} {r.unit} | {sign} {r.floor:g} {r.unit} | {sign} {r.target:g} {r.unit} | {r.verdict()} |"
        )
    return "\n".join(rows)


def picture(results: Results, whats: list[str]) -> str:
    """Bars of jobs/s, an SVG."""
    keys = [key for key in results.measured() if key[1] in whats]
    most = max(results.of(*key) for key in keys)
    bars = []
    for place, key in enumerate(keys):
        y, value = 10 + place * (BAR + 6), results.of(*key)
        colour = "#2a6f97" if key[0].startswith("mldeploy") else "#adb5bd"
        bars.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{key[0]}, {key[1]}, {key[2]}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH * value / most:.0f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{LEFT + WIDTH * value / most + 6:.0f}" y="{y + 13}">{value:,.0f}/s</text>'
        )
    height, width = 20 + len(keys) * (BAR + 6), LEFT + WIDTH + 90
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {style}>'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(bars)}</svg>\n'
    )


def machine() -> str:
    """When, where and with what."""
    size = psutil.virtual_memory().total / 2**30
    used = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {psutil.cpu_count()} CPUs ({platform.machine()}), {size:.0f} GiB, "
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}; "
        f"{used}, {choose_server().version}; the others as their requirements.txt says"
    )


def write(command: str, parts: list[str], svg: str) -> None:
    """Print it, and put it into docs/performance.md."""
    text = "\n\n".join([f"`make {command}`, {machine()}.", *parts])
    print(text)
    (DOCS / f"{command}.svg").write_text(svg)
    file = DOCS / "performance.md"
    marked = f"<!-- {command} -->\n\n{text}\n\n![jobs a second]({command}.svg)\n\n<!-- /{command} -->"
    written, found = re.subn(f"<!-- {command} -->.*<!-- /{command} -->", lambda _: marked, file.read_text(), flags=re.DOTALL)
    if not found:
        sys.exit(f"{file} has no place for {command}: <!-- {command} --> … <!-- /{command} -->")
    file.write_text(written)
