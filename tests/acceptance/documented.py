"""The commands of the documents by who runs them, and what there must be before."""

import os
import re
import secrets
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import parent_death
from mldeploy import Client
from settings import Settings
from tests.acceptance.reader import BIN, WINE, Reader
from tests.not_run import COMMANDS_NOT_RUN
from tests.processes import free_port
from tests.service import Service
from tests.snippets import BLOCKS, COMMANDS

SHOP = next(block for block in BLOCKS if block.file_name == "shop.py")
UP = next(text for _, text in COMMANDS if text.startswith("mldeploy up --home ~/.mldeploy --port 5000 "))
ON_THE_SERVER = re.compile(r"mldeploy (keys|models (import|export|refit|adopt|delete)|datasets delete)\b|.*mld_…")
OURS = dict.fromkeys(text for _, text in COMMANDS if text.startswith(("mldeploy ", "curl ")))  # no others, such as pip or docker
RUN = [text for text in OURS if text not in COMMANDS_NOT_RUN and text != UP]
OF_CALLERS = [text for text in RUN if not ON_THE_SERVER.match(text)]
UNDOING = re.compile("mldeploy (models import|datasets delete) ")  # after these `models refit` cannot train everything again
OF_OPERATORS = sorted(set(RUN) - set(OF_CALLERS), key=lambda text: (bool(UNDOING.match(text)), text))


class DocumentedService(Service):
    """Started by the command UP of docs/operations.md, with the application of docs/http.md, in a home folder of its own."""

    def __init__(self, home: Path) -> None:
        (home / SHOP.file_name).write_text(SHOP.text)
        setting, _, factory = next(word for word in SHOP.first_line.split() if word.startswith("MLDEPLOY_APP=")).partition("=")
        self.home = home / ".mldeploy"
        self.settings = Settings(home=str(self.home), port=free_port())
        self.url = f"http://127.0.0.1:{self.settings.port}"
        tied = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), "bash", "-c"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLDEPLOY_")}
        named = {"HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(home), setting: factory}
        self.popen = subprocess.Popen(
            [*tied, "exec " + UP.replace("5000", str(self.settings.port))],
            env=kept | named | {"MLDEPLOY_WEBHOOK_NETWORKS": "127.0.0.1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.popen.stdout is not None
        self.said_before: list[str] = []
        self.ready_line = self._read_until_ready(self.popen.stdout)


def name_for(reader: Reader, command: str) -> str:
    """Return a new name for a command that makes the model; else one that has versions."""
    if "wine.csv" in command:
        return new_name()
    name = with_versions(reader.client, _name_with_versions(reader.url))
    if "rollback" in command:
        serve_third(reader.client, name)
    return f"{reader.key.split('_')[1]}.{name}" if command.startswith("mldeploy datasets delete") else name


def new_name() -> str:
    return f"wine-{secrets.token_hex(4)}"


@cache
def _name_with_versions(_url: str) -> str:
    return new_name()


def with_versions(client: Client, name: str) -> str:
    """Have three versions, of which the third serves and the second did before. Returns the name."""
    if name not in {model["name"] for model in client.models()}:
        for trees in (3, 4, 5):
            forest: dict[str, Any] = {"estimator": "RandomForestClassifier", "params": {"n_estimators": trees}}
            client.train(WINE, model=name, target="target", promote="always", **forest).wait(60)
    return name


def serve_third(client: Client, name: str) -> None:
    """Have the third version serve, and the second before it."""
    if client.model(name)["aliases"]["champion"] != 3:
        client.promote(name, 2)
        client.promote(name, 3)
