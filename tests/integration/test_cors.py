"""Pages of the origins that MLDEPLOY_CORS_ORIGINS names may call: directly, through Flask, and under middleware."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from api.http.cors import Cors
from settings import BadSettings, Settings
from tests.callers import code
from tests.processes import Pieces

SHOP, BRANCH = "https://shop.example", "https://berlin.branches.example"
FOREIGN = "https://evil.example"
ORIGINS = rf"{SHOP}, https://.*\.branches\.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-api-key"}
WAYS = {
    "short": "",
    "flask": "tests.operators:hooked",
    "route": "tests.operators:a_route",
    "middleware": "tests.operators:wrapped",
}


def started(stack: ExitStack, folder: pytest.TempPathFactory, **settings: object) -> str:
    """The URL of an API with a Redis of its own and without workers."""
    pieces = Pieces(Settings().replace(**settings), folder.mktemp("cors"))
    stack.callback(pieces.stop)
    pieces.redis()
    pieces.api()
    return pieces.url


@pytest.fixture(scope="module", params=WAYS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ExitStack() as stack:
        yield started(stack, tmp_path_factory, cors_origins=ORIGINS, app=WAYS[request.param])


def allowed_origin(answer: requests.Response) -> str | None:
    return answer.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize("origin", [SHOP, BRANCH])
def test_pages_of_allowed_origins_may_call(url: str, origin: str) -> None:
    answer = requests.get(f"{url}/models", headers={"Origin": origin}, timeout=10)
    assert (answer.status_code, allowed_origin(answer)) == (200, origin)
    assert answer.headers["Access-Control-Expose-Headers"] == "Location, Retry-After"
    assert "Origin" in answer.headers["Vary"]


def test_errors_can_be_read_too(url: str) -> None:
    answer = requests.get(f"{url}/nothing", headers={"Origin": SHOP}, timeout=10)
    assert (answer.status_code, allowed_origin(answer)) == (404, SHOP)


@pytest.mark.parametrize(
    "origin", [FOREIGN, "https://shop.example.evil.example", f"{BRANCH}.evil.example", "http://shop.example", "null"]
)
def test_pages_of_other_origins_may_not(url: str, origin: str) -> None:
    answer = requests.get(f"{url}/models", headers={"Origin": origin}, timeout=10)
    assert (answer.status_code, code(answer), allowed_origin(answer)) == (403, "foreign-origin", None)


def test_a_preflight_request_says_what_may_be_sent(url: str) -> None:
    answer = requests.options(f"{url}/predict", headers={"Origin": SHOP, **PREFLIGHT}, timeout=10)
    assert (answer.status_code, allowed_origin(answer)) == (204, SHOP)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type, x-api-key"
    refused = requests.options(f"{url}/predict", headers={"Origin": FOREIGN, **PREFLIGHT}, timeout=10)
    assert allowed_origin(refused) is None


def test_each_header_comes_once(url: str) -> None:
    answer = requests.get(f"{url}/models", headers={"Origin": SHOP}, timeout=10)
    names = [name.lower() for name in answer.raw.headers if name.lower().startswith("access-control-")]
    assert "access-control-allow-origin" in names
    assert [len(answer.raw.headers.getlist(name)) for name in names] == [1] * len(names)


@pytest.mark.parametrize("app", [WAYS["route"], "tests.operators:wrapped_route"])
def test_an_operators_own_route_has_the_headers(tmp_path_factory: pytest.TempPathFactory, app: str) -> None:
    with ExitStack() as stack:
        url = started(stack, tmp_path_factory, cors_origins=ORIGINS, app=app, max_body=1_000)
        answer = requests.get(f"{url}/hello?name=you", headers={"Origin": SHOP}, timeout=10)
        assert (answer.status_code, allowed_origin(answer)) == (200, SHOP)
        refused = requests.get(f"{url}/hello?name=you", data=b"x" * 1_001, headers={"Origin": SHOP}, timeout=10)
        assert (refused.status_code, allowed_origin(refused)) == (413, SHOP)


@pytest.mark.parametrize("origins", ["*", "https?://.*", f"{SHOP},^.*$"])
def test_all_origins_may_not_use_a_service_without_keys(tmp_path_factory: pytest.TempPathFactory, origins: str) -> None:
    with ExitStack() as stack:
        url = started(stack, tmp_path_factory, cors_origins=origins)
        answer = requests.get(f"{url}/models", headers={"Origin": FOREIGN}, timeout=10)
        assert answer.status_code == 403
        assert requests.get(f"{url}/health/live", headers={"Origin": FOREIGN}, timeout=10).headers["Access-Control-Allow-Origin"]


def test_cors_is_off_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as stack:
        url = started(stack, tmp_path_factory)
        answer = requests.get(f"{url}/health/live", headers={"Origin": SHOP}, timeout=10)
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", ["https://(.example", "https://a.example)|(https://b.example"])
def test_a_broken_regular_expression_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(BadSettings, match=rf"MLDEPLOY_CORS_ORIGINS: {re.escape(origin)} is no regular expression"):
        Cors(origin)
