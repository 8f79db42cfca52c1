"""`make bench`: submit one measurement and get its prediction, through the durable queue, beside the bare model in a loop."""

import http.client
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool
from urllib.parse import urlsplit

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from mldeploy import Client
from models import dataset
from models.packaged import packaged_csv
from settings import Settings

PORT = 5999
SECONDS = 8.0
CONNECTIONS = (1, 32, 128)
TABLE = dataset.read(packaged_csv("iris") or b"", "species")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=folder, port=PORT)
        command = [sys.executable, "-m", "mldeploy", "up"]
        up = subprocess.Popen(command, env=settings.environment(), stdout=subprocess.PIPE, text=True)
        assert up.stdout is not None
        try:
            print(up.stdout.readline().strip())
            report(f"http://127.0.0.1:{PORT}")
        finally:
            up.terminate()
            up.wait(20)


def report(url: str) -> None:
    client = Client(url)
    version = client.predict(flower(0)).wait(60) and client.model("iris")["aliases"]["champion"]
    print(f"iris version {version}, `Prefer: wait`, {SECONDS:.0f} s each, load generator in a process of its own\n")
    print(f"{'connections':>12} {'jobs/s':>8} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}")
    with multiprocessing.get_context("spawn").Pool(1) as generator:
        for connections in CONNECTIONS:
            print(line(connections, generator, url))
    print(f"\nbare `model.predict` of one row in a loop: {bare():.0f} rows/s")


def line(connections: int, generator: Pool, url: str) -> str:
    times = generator.apply(load, (url, connections))
    cuts = statistics.quantiles(times, n=100)
    return f"{connections:>12} {len(times) / SECONDS:>8.0f} " + " ".join(f"{1000 * cuts[at]:>8.1f}" for at in (49, 89, 98))


def load(url: str, connections: int) -> list[float]:
    """Seconds that each answer took; every answer is checked."""
    over = time.monotonic() + SECONDS
    with ThreadPoolExecutor(connections) as pool:
        return [took for taken in pool.map(lambda start: ask(url, start, over), range(connections)) for took in taken]


def ask(url: str, start: int, over: float) -> Sequence[float]:
    connection, times, number = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30), [], start
    while time.monotonic() < over:
        since = time.monotonic()
        headers = {"Content-Type": "application/json", "Prefer": "wait=10"}
        connection.request("POST", "/predict", json.dumps(flower(number)), headers)
        answer = json.loads(connection.getresponse().read())
        times.append(time.monotonic() - since)
        assert answer["result"]["input"] == flower(number), answer
        number += 1
    return times


def flower(number: int) -> dict[str, float]:
    return dict(zip(TABLE.schema.names, TABLE.features[number % len(TABLE.features)].tolist(), strict=True))


def bare() -> float:
    tree = DecisionTreeClassifier(random_state=0).fit(TABLE.features, TABLE.labels)
    since, rows = time.perf_counter(), 2000
    for number in range(rows):
        tree.predict(np.asarray([TABLE.features[number % len(TABLE.features)]]))
    return rows / (time.perf_counter() - since)


if __name__ == "__main__":
    main()
