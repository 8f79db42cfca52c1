"""`make bench`: submit one measurement and get its prediction, through the durable queue, beside the bare model in a loop."""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from mldeploy import Client
from models import dataset
from models.packaged import packaged_csv
from settings import Settings

SECONDS = 8.0
CONNECTIONS = (1, 32, 128)
TABLE = dataset.read(packaged_csv("iris") or b"", "species")
ROWS = [dict(zip(TABLE.schema.names, row, strict=True)) for row in TABLE.features.tolist()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-m", "mldeploy", "up"]
        up = subprocess.Popen(command, env=Settings(home=folder, port=port).environment(), stdout=subprocess.PIPE, text=True)
        assert up.stdout is not None
        try:
            print(up.stdout.readline().strip(), flush=True)
            report(f"http://127.0.0.1:{port}")
        finally:
            up.terminate()
            up.wait(20)


def report(url: str) -> None:
    client = Client(url)
    client.predict(ROWS[0]).wait(60)
    print(f"one iris measurement a request, `Prefer: wait`, {SECONDS:.0f} s each\n")
    print(f"{'connections':>12} {'jobs/s':>8} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'refused':>8}")
    for connections in CONNECTIONS:
        print(line(url, connections), flush=True)
    print(f"\nbare `model.predict` of one row in a loop: {bare():.0f} rows/s")


def line(url: str, connections: int) -> str:
    command = [sys.executable, "-m", "benchmarks.load", url, str(connections), str(SECONDS)]
    told = subprocess.run(command, input=json.dumps(ROWS), capture_output=True, text=True, timeout=SECONDS + 60, check=True)
    answers = json.loads(told.stdout)
    times = [seconds for status, seconds in answers if status == 200]
    cuts = statistics.quantiles(times, n=100)
    figures = " ".join(f"{1000 * cuts[at]:>8.1f}" for at in (49, 89, 98))
    return f"{connections:>12} {len(times) / SECONDS:>8.0f} {figures} {len(answers) - len(times):>8}"


def bare() -> float:
    tree = DecisionTreeClassifier(random_state=0).fit(TABLE.features, TABLE.labels)
    since, rows = time.perf_counter(), 2000
    for number in range(rows):
        tree.predict(np.asarray([TABLE.features[number % len(TABLE.features)]]))
    return rows / (time.perf_counter() - since)


if __name__ == "__main__":
    main()
