"""``python -m benchmarks.load``: the load generator, a process of its own. A plan as JSON comes in, findings as JSON go out.

One thread and one epoll drive all connections, which stay open; each connection is one client, a generator (see dialects.py)
that yields requests and is sent answers, and that checks every answer.
"""

import heapq
import select
import socket
import sys
import time
from itertools import count

import msgspec
from msgspec import Struct

from benchmarks.dialects import DIALECTS, Answer, Client, Findings, Plan, probe

MOST_READ = 1 << 16  # bytes; for more, memory would be mapped and unmapped for each answer


class Report(Struct):
    """Times in seconds."""

    jobs: int
    seconds: float
    jobs_per_second: float
    p50: float
    p90: float
    p95: float
    p99: float
    polls_per_job: float
    poll_p95: float
    refused: int
    cpu_seconds: float


class Connection:
    def __init__(self, plan: Plan, client: Client) -> None:
        self.socket = socket.create_connection(("127.0.0.1", plan.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = client
        self.received = b""
        self.since = 0.0
        self._line_end = f"\r\nAuthorization: Bearer {plan.key}\r\n".encode() if plan.key else b"\r\n"

    def send(self, request: bytes) -> None:
        self.received, self.since = b"", time.perf_counter()
        self.socket.sendall(request.replace(b"\r\n", self._line_end, 1))

    def receive(self) -> Answer | None:
        """The answer once it is here whole. Raises ConnectionError when the server has closed the connection."""
        part = self.socket.recv(MOST_READ)
        if not part:
            raise ConnectionError("closed by the server")
        self.received += part
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _length(self.received[:end].lower())
        if len(self.received) < end + 4 + length:
            return None
        return int(self.received[9:12]), self.received[end + 4 :], time.perf_counter() - self.since


def _length(head: bytes) -> int:
    place = head.index(b"content-length:")
    return int(head[place + 15 :].split(b"\r\n", 1)[0])


def drive(plan: Plan, clients: list[Client]) -> None:
    """Until the plan's time is over."""
    poll, connections, asleep, order = (
        select.epoll(),
        dict[int, Connection](),
        list[tuple[float, int, Connection, bytes]](),
        count(),
    )
    over = time.perf_counter() + plan.warm + plan.seconds

    def go_on(connection: Connection, step: tuple[float, bytes]) -> None:
        pause, request = step
        if pause:
            heapq.heappush(asleep, (time.perf_counter() + pause, next(order), connection, request))
        else:
            connection.send(request)

    for client in clients:
        connection = Connection(plan, client)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
        go_on(connection, next(client))
    while (now := time.perf_counter()) < over:
        for number, _ in poll.poll(max(0.0, asleep[0][0] - now) if asleep else 0.1):
            answer = connections[number].receive()
            if answer is not None:
                go_on(connections[number], connections[number].client.send(answer))
        while asleep and asleep[0][0] <= time.perf_counter():
            _, _, connection, request = heapq.heappop(asleep)
            connection.send(request)
    for connection in connections.values():
        connection.socket.close()


def run(plan: Plan) -> Report:
    starts = time.perf_counter() + plan.warm
    findings = Findings(starts)
    numbers = count()
    clients = [DIALECTS[plan.dialect](plan, findings, numbers) for _ in range(plan.connections)]
    drive(plan, [*clients, *([probe(plan, findings)] if plan.probe else [])])
    seconds = time.perf_counter() - starts
    times, polls = sorted(findings.times), sorted(findings.polls)
    return Report(
        jobs=len(times),
        seconds=seconds,
        jobs_per_second=len(times) * plan.rows_each / seconds,
        p50=share(times, 0.5),
        p90=share(times, 0.9),
        p95=share(times, 0.95),
        p99=share(times, 0.99),
        polls_per_job=findings.all_polls / max(1, len(times)),
        poll_p95=share(polls, 0.95),
        refused=findings.refused,
        cpu_seconds=time.process_time(),
    )


def share(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(run(plan)))


if __name__ == "__main__":
    main()
