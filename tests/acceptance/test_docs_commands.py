"""The commands of the documents' blocks, each run as it stands against a service."""

import json
import shutil
from contextlib import ExitStack

import pytest

from tests.acceptance.documented import OF_CALLERS, name_for
from tests.acceptance.reader import FLOWERS, WINE, Reader
from tests.service import Service
from tests.suspended import nobody_trains


def check_output(command: str, output: str) -> None:
    """The job's result or the page that a command of a caller prints."""
    if "text/event-stream" in command:
        assert "event: succeeded" in output
        return
    if "webhook-secret" in command:
        assert output.startswith("whsec_")
        return
    shown = [json.loads(line) for line in output.splitlines()]
    if "predict" in command:
        predicted = shown[0]["result"]
        assert all(each["prediction"] == "setosa" for each in predicted.get("predictions", [predicted]))
    elif "datasets add" in command:
        assert (shown[0]["result"]["added"], shown[0]["result"]["duplicates"]) == (28, 0)
    elif "train" in command and "curl" not in command:
        assert shown[0]["status"] == "succeeded"


@pytest.mark.parametrize("command", OF_CALLERS, ids=str)
def test_command_works(command: str, caller: Reader, service: Service) -> None:
    if command.startswith("curl ") and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    caller.wine = name_for(caller, command) if "wine" in command else ""
    with ExitStack() as stack:
        if "cancel <id>" in command:
            stack.enter_context(nobody_trains(service))
            caller.job_id = caller.client.train(WINE, model="wine-canceled", target="target").id
        elif "<id>" in command:
            job = caller.client.predict(FLOWERS[0])
            job.wait(30)
            caller.job_id = job.id
        check_output(command, caller.run(command))
