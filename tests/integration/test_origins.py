"""Only pages of the service itself may use credentials of the browser; another port is another service."""

from collections.abc import Iterator

import pytest

from settings import Settings
from tests.callers import Caller, caller_with, code
from tests.integration.test_admission import basic
from tests.processes import Pieces


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Start Redis and the API without workers."""
    pieces = Pieces(Settings(), tmp_path_factory.mktemp("origins"))
    try:
        pieces.redis()
        pieces.api()
        yield pieces
    finally:
        pieces.stop()


def foreign(port: int) -> list[str]:
    other = port + 1 if port < 65535 else port - 1
    return [
        f"http://127.0.0.1:{other}",
        f"http://localhost:{other}",
        "http://127.0.0.1",
        "http://localhost",
        f"http://[::1]:{other}",
        f"https://127.0.0.1:{port}",
        f"ftp://127.0.0.1:{port}",
        "https://evil.example",
        f"http://evil.example:{port}",
        f"http://127.0.0.1:{port}.evil.example",
        f"http://127.0.0.1@evil.example:{port}",
        "null",
        "",
        "http://",
        "http://[",
        "file://",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_keys_only_pages_of_the_service_may_call_it(bare: Pieces, host: str) -> None:
    port = bare.settings.port
    anybody = Caller(f"http://{host}:{port}")
    for origin in foreign(port):
        answer = anybody.get("/models", headers={"Origin": origin})
        assert (answer.status_code, code(answer)) == (403, "foreign-origin"), origin
        answer = anybody.post("/train", json={}, headers={"Origin": origin})
        assert (answer.status_code, code(answer)) == (403, "foreign-origin"), origin
    assert anybody.get("/models", headers={"Origin": f"http://{host}:{port}"}).status_code == 200
    assert anybody.get("/models", headers={"Origin": f"HTTP://{host.upper()}:{port}"}).status_code in (200, 403)
    assert anybody.get("/models").status_code == 200


def test_page_on_another_port_may_not_use_a_browsers_password(bare: Pieces) -> None:
    """It makes a key, so it runs after the tests without keys."""
    user, port = caller_with(bare.url, bare.ledger, "user", ["predict"]), bare.settings.port
    nobody, password = Caller(bare.url), {"Authorization": basic("", user.token)}
    for origin in foreign(port):
        answer = nobody.get("/models", headers={**password, "Origin": origin})
        assert (answer.status_code, code(answer)) == (403, "foreign-origin"), origin
        assert user.get("/models", headers={"Origin": origin}).status_code == 200, "a token in Bearer comes from a program"
    assert nobody.get("/models", headers={**password, "Origin": bare.url}).status_code == 200
    assert nobody.get("/models", headers=password).status_code == 200


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("models.example", ["http://models.example", "https://models.example"]),
        ("models.example:8443", ["https://models.example:8443", "http://models.example:8443"]),
    ],
)
def test_service_behind_a_proxy_knows_its_own_pages(bare: Pieces, host: str, own: list[str]) -> None:
    """A proxy may end TLS, so the scheme here is not the browser's."""
    user = caller_with(bare.url, bare.ledger, f"behind-{host.replace(':', '-')}", ["predict"])
    password = {"Authorization": basic("", user.token), "Host": host}
    for origin in own:
        assert Caller(bare.url).get("/models", headers={**password, "Origin": origin}).status_code == 200, origin
    for origin in ("https://models.example:9999", "https://evil.example", "https://models.example.evil.example"):
        answer = Caller(bare.url).get("/models", headers={**password, "Origin": origin})
        assert (answer.status_code, code(answer)) == (403, "foreign-origin"), origin
