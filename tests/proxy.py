"""A TCP proxy in front of the API that loses replies on purpose."""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_CONNECTIONS = 256  # at a time; more wait for their turn
BUFFER = 65_536
TICK = 0.1


@dataclass(frozen=True)
class Reply:
    """A reply that has begun to arrive. ``number`` counts from 1; ``request`` is the start of its request as text."""

    number: int
    request: str

    @property
    def line(self) -> str:
        return self.request.partition("\r\n")[0]

    def header(self, name: str) -> str:
        """Return this header of the request; empty without one."""
        lines = (line.partition(": ") for line in self.request.split("\r\n"))
        return next((value for key, _, value in lines if key.lower() == name.lower()), "")


def first_of(method: str) -> Callable[[Reply], bool]:
    """Return whether it is the first reply to such a request."""
    earlier = itertools.count()
    return lambda reply: reply.line.startswith(f"{method} ") and next(earlier) == 0


class Proxy:
    """``drop``: whether to cut the connection where a reply begins, after the request was carried out.

    ``latency``: seconds that each reply is delayed; ``pause``: seconds between two pieces of a request, of BUFFER
    bytes. Requests on one connection come one after another, as HTTP/1.1 clients send them, so a reply begins with the first
    bytes from the service after some from the client.
    """

    def __init__(
        self,
        target_port: int,
        drop: Callable[[Reply], bool] = lambda _: False,
        latency: float = 0.0,
        port: int = 0,
        pause: float = 0.0,
    ) -> None:
        self.replies: list[Reply] = []
        self.dropped: list[Reply] = []
        self._target_port = target_port
        self._drop = drop
        self._latency = latency
        self._pause = pause
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        self._open: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        if pause:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # else the kernel takes megabytes at once
        self._listener.settimeout(TICK)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept_all, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> None:
        """Cut all open connections."""
        with self._lock:
            for connection in self._open:
                connection.cut()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()
        with self._lock:
            threads = [connection.thread for connection in self._open]
        for thread in threads:
            thread.join()

    def _accept_all(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                while not self._slots.acquire(timeout=TICK):
                    if self._over.is_set():
                        client.close()
                        return
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        connection = _Connection(client)
        connection.thread = threading.Thread(target=self._carry_all, args=(connection,), daemon=True)
        with self._lock:
            self._open.append(connection)
        connection.thread.start()

    def _carry_all(self, connection: "_Connection") -> None:
        try:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target_port), 10) as service:
                while not self._over.is_set() and self._carry(connection, service):
                    pass
        finally:
            with self._lock:
                connection.client.close()
                self._open.remove(connection)
            self._slots.release()

    def _carry(self, connection: "_Connection", service: socket.socket) -> bool:
        """Forward what has arrived from either side. Returns whether more may come."""
        ready, _, _ = select.select([connection.client, service], [], [], TICK)
        for source in ready:
            data = source.recv(BUFFER)
            if not data:
                return False
            if source is connection.client:
                connection.request += data[: BUFFER - len(connection.request)]
                service.sendall(data)
                self._over.wait(self._pause)
            elif not connection.request or self._lets_pass(connection):
                connection.client.sendall(data)
            else:
                return False
        return True

    def _lets_pass(self, connection: "_Connection") -> bool:
        request, connection.request = connection.request.decode("latin-1"), b""
        with self._lock:
            reply = Reply(len(self.replies) + 1, request)
            self.replies.append(reply)
            dropped = self._drop(reply)
            if dropped:
                self.dropped.append(reply)
        self._over.wait(self._latency)
        return not dropped


@dataclass(eq=False)
class _Connection:
    client: socket.socket
    request: bytes = b""  # since the last reply
    thread: threading.Thread = field(default_factory=threading.Thread)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
