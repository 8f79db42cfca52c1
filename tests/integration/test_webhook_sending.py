"""Sending webhooks: addresses, signatures, secrets, and hostile receivers."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.ledger import Ledger
from tests.processes import free_port
from tests.receiver import Receiver, make_certificate
from webhooks.networks import Networks, parse_networks
from webhooks.resolver import Refused, Unresolvable, resolve
from webhooks.sender import Reply, send
from webhooks.signature import new_secret, sign
from webhooks.signing_secrets import ROTATION_WINDOW, Secrets
from webhooks.url import Target, check_url

HERE = parse_networks("127.0.0.1")
BODY = b'{"type": "job.succeeded"}'
NAMED = "receiver.test"


def post(url: str, timeout: float = 20.0, tls: ssl.SSLContext | None = None) -> Reply:
    target = check_url(url, HERE)
    return send(target, resolve(target, HERE), {"webhook-id": "1"}, BODY, tls or ssl.create_default_context(), timeout)


def named(port: int, scheme: str = "https") -> Target:
    return Target(scheme, NAMED, port, "/webhook")


def answering(*addresses: str) -> Callable[..., Sequence[Any]]:
    """Return a resolver with these answers."""
    return lambda _, port, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


# Sending


def test_a_receiver_gets_the_body_and_the_headers() -> None:
    with Receiver(204) as receiver:
        assert post(receiver.url + "?a=b") == Reply(204)
        (came,) = receiver.received
    assert (came.path, came.body) == ("/webhook?a=b", BODY)
    assert came.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "mldeploy-webhooks",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "connection": "close",
        "accept-encoding": "identity",
        "webhook-id": "1",
    }


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308, 410, 500])
def test_no_redirect_is_followed(status: int) -> None:
    with Receiver() as elsewhere, Receiver(status, location=elsewhere.url) as receiver:
        assert post(receiver.url) == Reply(status)
        assert (receiver.connections, elsewhere.connections) == (1, 0)


def test_refused_connection_is_an_error() -> None:
    assert post(f"http://127.0.0.1:{free_port()}/") == Reply(None, "Connection refused")


@contextlib.contextmanager
def receiver_that(does: Callable[[socket.socket], None]) -> Iterator[int]:
    """Return a port that treats its first connection in this way."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            does(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def drip(connection: socket.socket) -> None:
    """Send a response byte by byte for some seconds."""
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20 + b"\r\n":
        time.sleep(0.05)
        connection.sendall(bytes([letter]))


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def test_dripping_receiver_is_cut_off() -> None:
    with receiver_that(drip) as port:
        assert post(f"http://127.0.0.1:{port}/", timeout=0.5) == Reply(None, "no answer within 0.5 s")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silent_receiver_times_out(scheme: str) -> None:
    with receiver_that(say_nothing) as port:
        assert post(f"{scheme}://127.0.0.1:{port}/", timeout=0.3) == Reply(None, "no answer within 0.3 s")


def test_a_body_is_not_waited_for() -> None:
    def begin_only(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        say_nothing(connection)

    with receiver_that(begin_only) as port:
        assert post(f"http://127.0.0.1:{port}/") == Reply(200)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200]
)
def test_an_answer_that_is_not_http_is_an_error_without_its_text(answer: bytes) -> None:
    def give(connection: socket.socket) -> None:
        came = b""
        while not came.endswith(BODY):  # a connection that is closed with something unread is cut off
            came += connection.recv(1000)
        connection.sendall(answer)

    with receiver_that(give) as port:
        reply = post(f"http://127.0.0.1:{port}/")
    assert reply.status is None
    assert "SSH" not in reply.error
    assert "not HTTP" in reply.error


# TLS


def test_the_certificate_is_checked_against_the_name_whatever_the_address(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, NAMED)
    tls = ssl.create_default_context(cafile=str(certificate))
    with Receiver(certificate=certificate) as receiver:
        target = named(receiver.port)
        assert send(target, resolve(target, HERE, answering("127.0.0.1")), {}, BODY, tls) == Reply(204)
        assert receiver.received[0].headers["host"] == f"{NAMED}:{receiver.port}"
        wrong = send(Target("https", "other.test", receiver.port, "/"), "127.0.0.1", {}, BODY, tls)
        assert wrong.status is None
        assert "not valid for other.test: Hostname mismatch" in wrong.error
        assert len(receiver.received) == 1


def test_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    with Receiver(certificate=make_certificate(tmp_path, NAMED)) as receiver:
        reply = send(named(receiver.port), "127.0.0.1", {}, BODY, ssl.create_default_context())
        assert reply.status is None
        assert "self-signed certificate" in reply.error
        assert receiver.received == []


def test_tls_to_a_plain_server_is_an_error() -> None:
    with Receiver() as receiver:
        reply = post(receiver.url.replace("http:", "https:"))
    assert reply.status is None
    assert reply.error.startswith("no TLS with 127.0.0.1: ")


# Addresses


def test_a_name_is_looked_up_once_and_that_address_is_connected_to() -> None:
    """A resolver that answers differently the second time gains nothing."""
    answers = iter(["127.0.0.1", "127.0.0.2"])

    def look_up(*args: Any, **kwargs: Any) -> Sequence[Any]:
        return answering(next(answers))(*args, **kwargs)

    with Receiver() as receiver:
        target = named(receiver.port, "http")
        address = resolve(target, HERE, look_up)
        assert send(target, address, {}, BODY, ssl.create_default_context()) == Reply(204)
        assert receiver.connections == 1
    assert next(answers) == "127.0.0.2"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"], ["fd00:ec2::254"]],
)
def test_a_name_that_leads_to_any_private_address_is_refused(addresses: list[str]) -> None:
    with pytest.raises(Refused, match="has no public address"):
        resolve(named(443), Networks(), answering(*addresses))


def test_system_resolver_is_used() -> None:
    with pytest.raises(Refused, match="has no public address"):
        resolve(Target("https", "localhost", 443, "/"), Networks())
    assert resolve(Target("https", "8.8.8.8", 443, "/"), Networks()) == "8.8.8.8"


def test_a_name_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(Unresolvable, match="has no public address"):
        resolve(Target("https", "nowhere.invalid", 443, "/"), HERE)
    with pytest.raises(Unresolvable, match="has no public address"):
        resolve(named(443), HERE, answering())


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    hang = threading.Event()
    with pytest.raises(Unresolvable, match=r"within 0\.1 s"):
        resolve(named(443), HERE, lambda *_, **__: [hang.wait(10)], timeout=0.1)
    hang.set()


# Signatures


def headers(secrets: Sequence[str], body: bytes = BODY) -> dict[str, str]:
    now = int(time.time())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": sign(secrets, "msg_1", now, body)}


def test_the_public_library_verifies_signatures_of_both_secrets(ledger: Ledger) -> None:
    secrets = secrets_of(ledger)
    old = secrets.current("a")
    new = secrets.rotate("a")
    signed = headers(secrets.of("a"))
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, signed) == json.loads(BODY)
    for secret, body in ((new_secret(), BODY), (new, BODY + b" ")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, signed)


def test_the_example_of_the_specification() -> None:
    """From https://www.standardwebhooks.com and the tests of its libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# Secrets


def secrets_of(ledger: Ledger) -> Secrets:
    return Secrets(ledger.redis, ledger.prefix, ledger.guard)


def test_each_caller_has_a_secret_that_stays(ledger: Ledger) -> None:
    secrets = secrets_of(ledger)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: secrets_of(ledger).current("a"), range(16)))
    assert found == {secrets.current("a")}
    assert secrets.of("a") == [secrets.current("a")]
    assert secrets.current("") not in found


def test_the_secret_before_signs_for_a_day(ledger: Ledger) -> None:
    secrets = secrets_of(ledger)
    first = secrets.current("a")
    second = secrets.rotate("a")
    assert secrets.of("a") == [second, first]
    third = secrets.rotate("a")
    assert secrets.of("a") == [third, second]
    age(ledger, ROTATION_WINDOW - 60)
    assert secrets.of("a") == [third, second]
    age(ledger, 60)
    assert secrets.of("a") == [third]
    assert secrets.of("b") == [secrets.current("b")]


def age(ledger: Ledger, seconds: int) -> None:
    """Make the secrets of caller a older by this much."""
    key = f"{ledger.prefix}webhook-secrets"
    kept = json.loads(ledger.redis.hget(key, "a") or "")
    ledger.redis.hset(key, "a", json.dumps({**kept, "rotated_at": kept["rotated_at"] - seconds}))
