"""Who may call: keys and their scopes, immediate revocation, and outages of Redis."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import requests

from api.app import create_app
from api.http.operation import operation_of
from auth.keys import Keys
from settings import Settings
from tests.callers import Caller, caller_with, code, keys_of
from tests.processes import Pieces, Running, until
from tests.service import Service

CHALLENGE = 'Bearer realm="mldeploy", Basic realm="mldeploy", charset="UTF-8"'
SCOPED = [  # each changes nothing: a caller with access gets an error
    ("POST", "/predict?model=none", "predict"),
    ("POST", "/train?search=-1", "train"),
    ("POST", "/datasets/UPPER", "train"),
    ("PUT", "/models/none/aliases/champion", "admin"),
    ("DELETE", "/models/none/aliases/challenger", "admin"),
    ("POST", "/models/none/rollback", "admin"),
]
ANY = [
    ("GET", "/result/x"),
    ("DELETE", "/result/x"),
    ("GET", "/jobs"),
    ("GET", "/models"),
    ("GET", "/models/none"),
    ("GET", "/models/none/schema"),
    ("GET", "/models/none/versions/1"),
    ("GET", "/datasets"),
    ("GET", "/datasets/none"),
    ("GET", "/webhook-secret"),
    ("POST", "/webhook-secret"),
    ("GET", "/version"),
    ("GET", "/v2"),
    ("GET", "/v2/models/none"),
    ("GET", "/v2/models/none/ready"),
    ("GET", "/v2/models/none/versions/1"),
    ("GET", "/v2/models/none/versions/1/ready"),
    ("GET", "/nowhere"),
    ("PUT", "/predict"),
    ("OPTIONS", "/models"),
    ("HEAD", "/models"),
]


@pytest.fixture(scope="module")
def by_scope(closed: Service, alice: Caller) -> dict[str, Caller]:
    return {scope: caller_with(closed.url, closed.ledger, f"{scope}-only", [scope]) for scope in ("predict", "train", "admin")}


@pytest.fixture(scope="module")
def nobody(alice: Caller) -> Caller:
    """Return a caller without a key of a service that has keys."""
    return Caller(alice.url)


def check_refused(answer: requests.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    if answer.request.method != "HEAD":
        assert code(answer) == "unauthorized"
        assert "mldeploy keys create" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "scope"), SCOPED)
def test_scope_is_required_and_admin_has_all(
    nobody: Caller, by_scope: dict[str, Caller], method: str, path: str, scope: str
) -> None:
    check_refused(nobody.request(method, path))
    for having, caller in by_scope.items():
        answer = caller.request(method, path)
        if having in (scope, "admin"):
            assert answer.status_code in (400, 404, 415, 422), answer.text
        else:
            assert (answer.status_code, code(answer)) == (403, "forbidden")
            assert scope in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), ANY)
def test_other_routes_need_any_key(nobody: Caller, by_scope: dict[str, Caller], method: str, path: str) -> None:
    check_refused(nobody.request(method, path))
    assert {caller.request(method, path).status_code for caller in by_scope.values()} <= {200, 204, 404, 405}


def test_no_route_was_forgotten() -> None:
    """The routes above are all that need a key, and only the health checks need none."""
    app = create_app()
    access = {
        (method, rule.rule): operation_of(app.view_functions[rule.endpoint]).access
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    urls = app.url_map.bind("")

    def rule_of(method: str, path: str) -> tuple[str, str]:
        return method, urls.match(path.partition("?")[0], method, return_rule=True)[0].rule

    scoped = {rule_of(method, path): scope for method, path, scope in SCOPED}
    assert {rule: scope for rule, scope in access.items() if scope in ("train", "admin")} == {
        rule: scope for rule, scope in scoped.items() if scope != "predict"
    }
    named = {rule_of(method, path) for method, path in ANY if method in ("GET", "POST", "DELETE") and path != "/nowhere"}
    assert {rule for rule, needed in access.items() if needed == "any"} == named


def test_health_needs_no_key(nobody: Caller) -> None:
    assert [nobody.get(f"/health/{which}").status_code for which in ("live", "ready")] == [200, 200]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_key_comes_as_bearer_as_x_api_key_or_as_a_browsers_password(nobody: Caller, alice: Caller) -> None:
    token = alice.token
    for headers in (
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token} "},
        {"X-API-Key": token},
        {"Authorization": basic("", token)},
        {"Authorization": basic("somebody", token)},
    ):
        assert nobody.get("/models", headers=headers).status_code == 200, headers


def test_invalid_keys_are_refused(nobody: Caller, alice: Caller, bob: Caller) -> None:
    token, id_ = alice.token, alice.id
    for candidate in (token[:-1], token + "x", token.replace("mld_", "MLD_"), f"mld_{id_}_{bob.token[-43:]}", id_, "mld__", ""):
        check_refused(nobody.get("/models", headers={"Authorization": f"Bearer {candidate}"}))
        check_refused(nobody.get("/models", headers={"X-API-Key": candidate}))
    for scheme in ("Bearer", "Basic", "Basic !!!", "Basic é", "Basic /w==", "Digest x", basic(token, "")):
        check_refused(nobody.get("/models", headers={"Authorization": scheme.encode()}))
    check_refused(nobody.get(f"/models?key={token}&api_key={token}"))
    check_refused(nobody.get("/models", headers={"Cookie": f"key={token}"}))


def test_a_browser_sends_its_password_for_no_other_site(nobody: Caller, alice: Caller) -> None:
    password = {"Authorization": basic("", alice.token), "Host": "models.example"}
    foreign = nobody.get("/models", headers={**password, "Origin": "https://evil.example"})
    assert (foreign.status_code, code(foreign)) == (403, "foreign-origin")
    assert nobody.get("/models", headers={**password, "Origin": "https://models.example"}).status_code == 200
    assert alice.get("/models", headers={"Origin": "https://evil.example"}).status_code == 200


def test_new_key_works_before_it_was_announced(closed: Service, alice: Caller) -> None:
    """A request may overtake the message of the channel."""
    ledger = closed.ledger
    assert alice.get("/models").status_code == 200  # the keys are cached now
    key, token = Keys(ledger.redis, ledger.prefix + "elsewhere:", ledger.guard).create("untold", ["predict"])
    ledger.redis.hset(ledger.prefix + "keys", key.id, msgspec.json.encode(key).decode())
    assert Caller(closed.url, token).get("/models").status_code == 200
    keys_of(ledger).revoke(key.id)


def sessions(service: Service, token: str, many: int = 16) -> list[requests.Session]:
    """Return kept connections to both API processes."""
    opened = [requests.Session() for _ in range(many)]
    for each in opened:
        each.headers["Authorization"] = f"Bearer {token}"
        each.get(f"{service.url}/health/live", timeout=10)
    workers = service.children()["api"].children()
    ports = [{c.laddr.port for c in worker.net_connections("tcp") if c.status == "ESTABLISHED"} for worker in workers]
    assert sum(service.settings.port in each for each in ports) == 2, "both processes have clients"
    return opened


def test_new_key_works_and_revoked_key_is_refused_at_once(closed: Service, alice: Caller) -> None:
    keys = keys_of(closed.ledger)
    key, token = keys.create("brief", ["predict"])
    clients = sessions(closed, token)

    def statuses() -> set[int]:
        return {each.get(f"{closed.url}/models", timeout=10).status_code for each in clients}

    until(lambda: statuses() == {200}, 2, "it opens both")
    keys.revoke("brief")
    until(lambda: statuses() == {401}, 2, "it opens none")
    assert alice.get("/models").status_code == 200
    for each in clients:
        each.close()
    assert keys.key_set().find(token) is None
    assert key.id != alice.id


# A service of its own


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pieces, Running]]:
    """Start Redis and the API without workers."""
    pieces = Pieces(Settings(), tmp_path_factory.mktemp("bare"))
    try:
        redis = pieces.redis()
        pieces.api()
        yield pieces, redis
    finally:
        pieces.stop()


def test_first_key_closes_the_service_for_good(bare: tuple[Pieces, Running]) -> None:
    pieces, _ = bare
    anybody, ledger = Caller(pieces.url), pieces.ledger
    before = anybody.post("/train", json={}).json()
    user = caller_with(pieces.url, ledger, "user", ["predict", "train"])
    until(lambda: anybody.get("/models").status_code == 401, 2, "it is closed")
    admin = caller_with(pieces.url, ledger, "admin", ["admin"])
    until(lambda: admin.get("/models").status_code == 200, 2, "the admin's key is known")
    assert code(user.get(before["result_url"])) == "unknown-job"
    assert admin.get(before["result_url"]).json()["id"] == before["id"]
    assert (user.get("/jobs").json()["jobs"], len(admin.get("/jobs").json()["jobs"])) == ([], 1)
    for name in ("user", "admin"):
        keys_of(ledger).revoke(name)
    until(lambda: admin.get("/models").status_code == 401, 2, "the last key is revoked")
    assert [caller.get("/models").status_code for caller in (anybody, user, admin)] == [401] * 3


def test_while_redis_is_away_keys_are_neither_accepted_nor_refused(bare: tuple[Pieces, Running]) -> None:
    pieces, redis = bare
    nobody, user = Caller(pieces.url), caller_with(pieces.url, pieces.ledger, "user", ["admin"])
    until(lambda: user.get("/models").status_code == 200, 2, "the key is known")
    redis.kill()
    callers = (nobody, user, Caller(pieces.url, user.token[:-1] + "_"))

    def answers(path: str) -> list[requests.Response]:
        return [caller.get(path) for caller in callers]

    until(lambda: {answer.status_code for answer in answers("/models")} == {503}, 3, "nobody gets anything")
    for answer in answers("/result/x"):
        assert (answer.status_code, code(answer), answer.headers["Retry-After"]) == (503, "unavailable", "1")
    assert nobody.get("/health/live").status_code == 200
    pieces.redis()
    until(lambda: [answer.status_code for answer in answers("/models")] == [401, 200, 401], 10, "all is as it was")


# Rates


def get_many(caller: Caller, many: int, path: str = "/models") -> list[requests.Response]:
    with ThreadPoolExecutor(8) as clients:
        return list(clients.map(lambda _: caller.get(path), range(many)))


def test_rate_is_shown_and_kept_over_both_processes(closed: Service, alice: Caller) -> None:
    caller = caller_with(closed.url, closed.ledger, "five", ["predict"], "5/h")
    first = caller.get("/models")
    assert (first.headers["RateLimit-Policy"], first.headers["RateLimit"]) == ('"default";q=5;w=3600', '"default";r=4;t=720')
    answers = get_many(caller, 24)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 20
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == '"default";q=5;w=3600'
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {code(answer) for answer in refused} == {"rate-limited"}
    assert all(600 < int(answer.headers["Retry-After"]) <= 720 for answer in refused)
    assert all(answer.headers["RateLimit"].startswith('"default";r=0;t=') for answer in refused)
    assert "RateLimit" not in alice.get("/models").headers


def test_repeats_and_what_is_forbidden_are_not_counted(closed: Service, alice: Caller) -> None:
    caller = caller_with(closed.url, closed.ledger, "three", ["predict"], "3/h")
    flower: dict[str, Any] = dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), 1)
    headers = {"Idempotency-Key": "again"}
    ids = {caller.post("/predict", json=flower, headers=headers).json()["id"] for _ in range(10)}
    assert len(ids) == 1
    assert caller.post("/train", json={}).status_code == 403
    assert [caller.get("/models").status_code for _ in range(3)] == [200, 200, 429]
    assert caller.post("/predict", json=flower, headers=headers).json()["id"] in ids
    assert caller.post("/predict", json=flower).status_code == 429
