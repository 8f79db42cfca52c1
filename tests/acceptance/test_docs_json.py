"""The JSON in the documents: requests are accepted, and responses have the keys that are shown."""

import re

import msgspec
import pytest
import requests

from jobs.condition import Reason
from tests.acceptance.documented import with_versions
from tests.acceptance.reader import Reader
from tests.acceptance.test_docs_server import WEBHOOK
from tests.snippets import SHOWN_JSON, parsed_json

WINE = "wine-json"
REQUESTS = {
    "{}": ("POST", "/train"),
    '{"model": "wine"}': ("POST", "/train"),
    '{"version": 3, "who": …, "why": …}': ("PUT", f"/models/{WINE}/aliases/champion"),
}
HEALTH = '{"status", "reasons": [{"code", "severity", "detail", "action"}], "workers", "reconciled_seconds_ago", "unloadable"}'


def test_all_json_is_compared_with_the_services() -> None:
    assert set(SHOWN_JSON) == {*REQUESTS, WEBHOOK, HEALTH}


@pytest.mark.parametrize("shown", REQUESTS)
def test_request_is_accepted(shown: str, caller: Reader) -> None:
    with_versions(caller.client, WINE)
    method, path = REQUESTS[shown]
    body = parsed_json(shown.replace('"wine"', f'"{WINE}"'))
    response = requests.request(method, caller.url + path, json=body, headers={"Prefer": "wait=60"}, timeout=90)
    assert response.status_code == 200, response.text


def test_readiness_has_the_keys_that_are_shown(caller: Reader) -> None:
    ready = requests.get(f"{caller.url}/health/ready", timeout=20).json()
    reasons = re.findall(r"\[\{(.*?)\}\]", HEALTH)[0]
    shown = re.findall(r'"(\w+)"', HEALTH.replace(reasons, ""))
    assert (list(ready), re.findall(r'"(\w+)"', reasons)) == (shown, list(msgspec.structs.asdict(Reason("", "degraded", "", ""))))
