"""An HTTP proxy in front of the service, as nginx is by default: it buffers a response unless that says otherwise, and then
forwards each piece as it arrives."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

PIECE = 65_536
OF_A_CONNECTION = {"connection", "transfer-encoding", "keep-alive", "host", "server", "date"}


class HttpProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target_port: int, prefix: str = "") -> None:
        """``prefix``: of the paths here, in front of those of the service."""
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target_port = target_port
        self.prefix = prefix

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "HttpProxy":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()


class _Forward(BaseHTTPRequestHandler):
    server: HttpProxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send_upstream(b"")

    def do_POST(self) -> None:
        self._send_upstream(self.rfile.read(int(self.headers["Content-Length"])))

    def do_DELETE(self) -> None:
        self._send_upstream(b"")

    def _send_upstream(self, body: bytes) -> None:
        target = http.client.HTTPConnection("127.0.0.1", self.server.target_port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_A_CONNECTION}
        if not self.path.startswith(self.server.prefix):
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return
        target.request(self.command, self.path.removeprefix(self.server.prefix), body or None, headers)
        answer = target.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OF_A_CONNECTION | {"content-length"}:
                self.send_header(name, value)
        if answer.status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if answer.status != http.HTTPStatus.NO_CONTENT:
            self._forward(answer)
        target.close()

    def _forward(self, answer: http.client.HTTPResponse) -> None:
        at_once = answer.getheader("X-Accel-Buffering") == "no"
        pieces = iter(lambda: answer.read1(PIECE), b"") if at_once else iter([answer.read()])
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
        pass
