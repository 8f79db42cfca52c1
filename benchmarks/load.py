"""``python -m benchmarks.load URL CONNECTIONS SECONDS``: the load generator, a process of its own; its findings as JSON."""

import http.client
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

Row = dict[str, float]
Answers = list[tuple[int, float]]  # HTTP status, seconds


def ask(url: str, rows: list[Row], start: int, over: float) -> Answers:
    """Predict one row after another on one connection; every answer must be for the row that was sent."""
    connection, answers, number = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30), Answers(), start
    headers = {"Content-Type": "application/json", "Prefer": "wait=10"}
    while time.monotonic() < over:
        row, since = rows[number % len(rows)], time.monotonic()
        connection.request("POST", "/predict", json.dumps(row), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        answers.append((response.status, time.monotonic() - since))
        assert response.status != http.HTTPStatus.OK or answer["result"]["input"] == row, answer
        number += 1
    return answers


def main() -> None:
    url, connections, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    rows, over = json.load(sys.stdin), time.monotonic() + seconds
    one: Callable[[int], Answers] = lambda start: ask(url, rows, start, over)  # noqa: E731
    with ThreadPoolExecutor(connections) as pool:
        json.dump([answer for answers in pool.map(one, range(connections)) for answer in answers], sys.stdout)


if __name__ == "__main__":
    main()
