"""The commands that the documents show for the server, run there as they stand; and what the service does that they started."""

import json
import re
from contextlib import suppress

import pytest
import requests

from auth.keys import Keys, UnknownKey
from tests.acceptance.documented import OF_OPERATORS, SHOP, DocumentedService, name_for
from tests.acceptance.reader import FLOWERS, Reader
from tests.processes import until
from tests.receiver import Receiver
from tests.service import Service
from tests.snippets import parsed_json

WEBHOOK = '{"type": "job.succeeded", "timestamp": …, "data": <the job>}'
QUICK = ("mldeploy keys", "curl")  # the others load scikit-learn, and take a few seconds each
COMMANDS = [pytest.param(text, marks=() if text.startswith(QUICK) else pytest.mark.slow, id=text) for text in OF_OPERATORS]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_works_on_the_server(command: str, operator: Reader, documented: tuple[DocumentedService, str]) -> None:
    operator.wine = name_for(operator, command) if "wine" in command else ""
    prepare_key(documented[0], command)
    output = operator.run(command)
    if "keys create" in command or "keys rotate" in command:
        token = output.split()[-1]
        assert token.startswith("mld_")
        assert requests.get(f"{operator.url}/models", headers={"Authorization": f"Bearer {token}"}, timeout=20).status_code == 200
    if "models export" in command:
        assert (operator.folder / "wine.zip").stat().st_size > 0


def prepare_key(service: Service, command: str) -> None:
    """Have the key that the command names, or not have it if the command makes it."""
    named = re.search(r"keys (?:create --name|rotate|revoke) (\w+)", command)
    if named:
        keys = Keys(service.ledger.redis, service.ledger.prefix, service.ledger.guard)
        with suppress(UnknownKey):
            keys.revoke(named[1])
        if "create" not in command:
            keys.create(named[1], ["predict"])


def test_application_of_the_operator_adds_what_it_shows(documented: tuple[DocumentedService, str]) -> None:
    running, _ = documented
    response = requests.get(f"{running.url}/about", timeout=20)
    header, value = re.findall(r'headers\["([\w-]+)"\] = "(\w+)"', SHOP.text)[0]
    assert (response.status_code, response.text, response.headers[header]) == (200, "what this service is for", value)
    assert running.ready_line


def test_webhook_has_the_keys_that_are_shown(documented: tuple[DocumentedService, str]) -> None:
    running, key = documented
    with Receiver(204) as receiver:
        headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
        address = f"{running.url}/predict"
        job = requests.post(address, json=FLOWERS[0], params={"webhook": receiver.url}, headers=headers, timeout=60).json()
        until(lambda: receiver.received, 20, "the webhook is there")
        sent, shown = json.loads(receiver.received[0].body), parsed_json(WEBHOOK)
    assert list(sent) == list(shown)
    assert (sent["type"], sent["data"]["id"]) == (shown["type"], job["id"])
