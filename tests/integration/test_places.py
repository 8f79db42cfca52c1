"""A service without keys answers this machine alone, unless that is switched off."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from settings import Settings
from tests.callers import Caller, caller_with, code
from tests.processes import ROOT, Pieces, Running, until

EVERYWHERE = "0.0.0.0"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:80", "10.0.0.1", "[::2]", b"\xff"]
)
def test_foreign_host_header_is_refused(anybody: Caller, host: str | bytes) -> None:
    """This is DNS rebinding: a foreign name that resolves to this machine."""
    answer = anybody.get("/models", headers={"Host": host})
    assert (answer.status_code, code(answer)) == (403, "foreign-host")
    assert "mldeploy keys create" in answer.json()["detail"]
    assert anybody.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:5000", "[::1]:5000", "127.8.8.8", "app.localhost"])
def test_this_machine_is_served_by_each_of_its_names(anybody: Caller, host: str) -> None:
    assert anybody.get("/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://evil.example:5000",
        "null",
        "file://",
        "http://127.0.0.1.evil.example",
        "http://localhost:@evil.example",
        "http://localhost@evil.example",
        "http://[",
        "localhost",
        "",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("POST", "/predict"), ("DELETE", "/result/x")])
def test_a_page_of_another_site_may_not_call(anybody: Caller, method: str, path: str, origin: str) -> None:
    answer = anybody.request(method, path, headers={"Origin": origin})
    assert (answer.status_code, code(answer)) == (403, "foreign-origin")


def test_a_page_of_the_service_itself_may(anybody: Caller) -> None:
    assert anybody.get("/models", headers={"Origin": anybody.url}).status_code == 200


@pytest.mark.parametrize("origin", ["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]"])
def test_a_page_of_another_port_of_this_machine_may_not(anybody: Caller, origin: str) -> None:
    answer = anybody.get("/models", headers={"Origin": origin})
    assert (answer.status_code, code(answer)) == (403, "foreign-origin")


@contextmanager
def api_on(folder: Path, **settings: object) -> Iterator[Pieces]:
    pieces = Pieces(Settings(host=EVERYWHERE).replace(**settings), folder)
    try:
        pieces.redis()
        pieces.api()
        yield pieces
    finally:
        pieces.stop()


def test_reachable_api_answers_nobody_until_there_is_a_key(tmp_path: Path) -> None:
    with api_on(tmp_path) as pieces:
        anybody = Caller(pieces.url)
        answer = anybody.get("/models")
        assert (answer.status_code, code(answer)) == (401, "unauthorized")
        assert "mldeploy keys create" in answer.json()["detail"]
        user = caller_with(pieces.url, pieces.ledger, "user", ["predict"])
        until(lambda: user.get("/models", headers={"Host": "models.example"}).status_code == 200, 2, "its key is known")
        assert anybody.get("/models").status_code == 401


@contextmanager
def up(folder: Path, *flags: str) -> Iterator[Pieces]:
    """Start `mldeploy up` and wait until its API answers."""
    pieces = Pieces(Settings(predict_workers=1), folder)
    running = Running(up_on(pieces, *flags), pieces.settings.replace(redis_url=""), folder, "up")
    try:
        until(lambda: live(pieces.url), 40, "the API answers")
        yield pieces
    finally:
        running.terminate(30)


def up_on(pieces: Pieces, *flags: str) -> list[str]:
    return [sys.executable, "-m", "mldeploy", "up", "--host", EVERYWHERE, "--port", str(pieces.settings.port), *flags]


def live(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return Caller(url).get("/health/live").status_code == 200
    return False


@pytest.mark.slow
def test_up_serves_other_machines_only_with_a_key_or_insecure(tmp_path: Path) -> None:
    """The key is made while it runs, and the next start needs no more."""
    pieces = Pieces(Settings(), tmp_path)
    command = [*up_on(pieces), "--home", str(tmp_path)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    for says in ("not on 0.0.0.0", "mldeploy keys create", "--insecure"):
        assert says in refused.stderr
    with up(tmp_path, "--insecure") as pieces:
        anybody = Caller(pieces.url)
        check_insecure(anybody)
        user = caller_with(pieces.url, pieces.ledger, "user", ["predict"])
        until(lambda: anybody.get("/models").status_code == 401, 2, "the key has closed it")
    with up(tmp_path) as pieces:
        callers = Caller(pieces.url, user.token), Caller(pieces.url)
        until(lambda: [caller.get("/models").status_code for caller in callers] == [200, 401], 5, "it is as the key has it")


def check_insecure(anybody: Caller) -> None:
    named = {"Host": "models.example"}
    assert anybody.get("/models", headers=named).status_code == 200
    assert anybody.get("/models", headers={**named, "Origin": "http://models.example"}).status_code == 200
    assert code(anybody.get("/models", headers={**named, "Origin": "http://evil.example"})) == "foreign-origin"
