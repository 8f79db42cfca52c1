"""``python -m tests.conformance``: schemathesis against the service and its own OpenAPI, as each kind of caller.

The service is started for it. Requested trainings are run, each within a time limit.
"""

import os
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from auth.keys import Keys
from jobs.job import Kind
from mldeploy.client import Client
from settings import Settings
from tests.processes import ROOT, Pieces

CONFIG = ROOT / "tests" / "schemathesis.toml"
CALLERS = {"nobody": (), "predict": ("predict",), "admin": ("admin",)}
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLE = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


class Target(NamedTuple):
    """A service, its document as a file, and a folder for other files. ``tokens``: by kind of caller."""

    url: str
    folder: Path
    tokens: dict[str, str]


class Run(NamedTuple):
    status: int
    output: str

    @property
    def cases(self) -> int:
        found = re.search(r"([0-9,]+) generated", self.output)
        return int(found[1].replace(",", "")) if found else 0

    @property
    def summary(self) -> str:
        return self.output[self.output.index("= SUMMARY =") :].partition("\n")[2]


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Start a service with a serving model, and make it require a key."""
    service = Pieces(Settings(train_limit=10.0), folder / "home")
    try:
        service.all()
        service.worker(Kind.WEBHOOK)
        Client(service.url).predict(EXAMPLE).wait(60)
        (folder / "openapi.json").write_bytes(requests.get(f"{service.url}/openapi.json", timeout=10).content)
        ledger = service.ledger
        keys = Keys(ledger.redis, ledger.prefix, ledger.guard)
        tokens = {name: keys.create(name, scopes)[1] if scopes else "" for name, scopes in CALLERS.items()}
        yield Target(service.url, folder, tokens)
    finally:
        service.stop()


def run(target: Target, caller: str, examples: int, *more: str) -> Run:
    config = target.folder / f"{caller}.toml"
    token = target.tokens[caller]
    config.write_text(CONFIG.read_text() + (f'\n[auth.openapi.Bearer]\nbearer = "{token}"\n' if token else ""))
    command = [str(SCHEMATHESIS), "--config-file", str(config), "run", str(target.folder / "openapi.json"), "--url", target.url]
    options = ["--max-examples", str(examples), "--no-color", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # where the hooks are from
    done = subprocess.run([*command, *options], cwd=target.folder, env=environment, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stdout + done.stderr)


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="at most so many for each operation, phase and caller")
    parser.add_argument("--caller", choices=CALLERS, action="append", help="only this kind of caller")
    args, more = parser.parse_known_args()
    worst = cases = 0
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as service:
        for caller in args.caller or CALLERS:
            done = run(service, caller, args.examples, *more)
            print(f"as {caller}\n{done.summary if done.status == 0 else done.output}", flush=True)
            worst, cases = max(worst, done.status), cases + done.cases
    print(f"{cases:,} cases in all")
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
