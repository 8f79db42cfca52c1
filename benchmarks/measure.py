"""One measurement: the load generator against a running system, with what its processes used meanwhile."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.dialects import Plan
from benchmarks.load import Report
from benchmarks.systems import Running

ROOT = Path(__file__).parent.parent


class Measured(Struct):
    """``cpu``: seconds of CPU per 1,000 jobs by process; ``memory``: bytes that the system's processes have for themselves."""

    system: str
    what: str
    connections: int
    report: Report
    cpu: dict[str, float]
    memory: int


def measure(running: Running, system: str, what: str, dialect: str, connections: int, **plan: Any) -> Measured:
    """Raises AssertionError if an answer was wrong."""
    asked = Plan(dialect=dialect, port=running.port, connections=connections, **plan)
    before = running.cpu()
    generator = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(generator, input=msgspec.json.encode(asked), stdout=subprocess.PIPE, cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 0, f"{system}, {what}: the load generator failed; see above"
    report = msgspec.json.decode(done.stdout, type=Report)
    jobs = report.jobs * (asked.warm + asked.seconds) / asked.seconds / 1000
    cpu: dict[str, float] = defaultdict(float)
    for pid, (name, seconds) in running.cpu().items():
        cpu[name] += (seconds - before.get(pid, ("", 0.0))[1]) / max(jobs, 0.001)
    cpu["load generator"] = report.cpu_seconds / max(jobs, 0.001)
    measured = Measured(
        system, what, connections, report, {name: used for name, used in cpu.items() if used >= 0.005}, running.memory()
    )
    print(line(measured), file=sys.stderr, flush=True)
    return measured


def line(m: Measured) -> str:
    r = m.report
    times = f"p50 {1000 * r.p50:.1f}  p90 {1000 * r.p90:.1f}  p99 {1000 * r.p99:.1f} ms"
    return f"{m.system:20} {m.what:28} {m.connections:>4}  {r.jobs_per_second:>10,.0f}/s  {times}  refused {r.refused}"
