"""Each route is called and each state is named by a test."""

import re
from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app
from jobs.job import State

TESTS = Path(__file__).parent.parent
ELSEWHERE = {"/", "/metrics"}  # the page and the metrics are not in the API
FOLDERS = ("integration", "acceptance", "faults")  # where tests call a running service

PART = r"""[^/"'?\s]+"""
CALL = r"""(?:\b{lower}\(|["']{upper}["'],).*?["'/]?"""


def texts() -> list[str]:
    files = [path for folder in FOLDERS for path in sorted((TESTS / folder).rglob("test_*.py"))]
    return [
        path.read_text() for path in files if path.name != "test_admission.py"
    ]  # it calls every route, but only checks access


def routes(app: Flask) -> list[tuple[str, str]]:
    return sorted(
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in ELSEWHERE
    )


def call_of(method: str, rule: str) -> re.Pattern[str]:
    """A call with this method whose path fits, in one line: ``get("/models/x")`` or ``request("PUT", f"/models/{name}/…")``."""
    path = re.sub(r"<[^>]+>", lambda _: PART, rule)
    called = CALL.format(lower=method.lower(), upper=method)
    return re.compile(rf"""{called}["'}}]{path}["'?]""")


def is_called(method: str, rule: str, among: list[str]) -> bool:
    pattern = call_of(method, rule)
    return any(pattern.search(text) for text in among)


@pytest.mark.parametrize(("method", "rule"), routes(create_app()))
def test_each_route_is_called_by_a_test(method: str, rule: str) -> None:
    assert is_called(method, rule, texts()), f"no test calls {method} {rule}"


@pytest.mark.parametrize("state", State)
def test_each_state_is_named_by_a_test(state: State) -> None:
    assert any(f'"{state}"' in text for text in texts())


def test_a_route_that_no_test_calls_would_be_found() -> None:
    among = ['anybody.get("/models")', 'request("PUT", f"/models/{name}/aliases/a")', 'delete(f"/result/{job}?wait=1")']
    assert is_called("GET", "/models", among)
    assert is_called("PUT", "/models/<name>/aliases/<alias>", among)
    assert is_called("DELETE", "/result/<job_id>", among)
    for method, rule in (("POST", "/models"), ("GET", "/models/<name>"), ("DELETE", "/models/<name>/aliases/<alias>")):
        assert not is_called(method, rule, among)
    assert not is_called("PUT", "/model", among)
