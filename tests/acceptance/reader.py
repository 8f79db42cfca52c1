"""Does what a document says, in a folder with the files that it names, with the service's address and a key put in."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier

from mldeploy import Client

BIN = Path(sys.executable).parent
TIMEOUT = 120.0  # seconds
ADDRESS = re.compile(r"\b(localhost|127\.0\.0\.1):5000\b")
FILE = re.compile(r"\b([\w-]+\.(?:csv|json|joblib))\b")
WINE: pd.DataFrame = load_wine(as_frame=True).frame.sample(frac=1, random_state=0)
FLOWERS = [{"sepal_length": 5.0 + n / 10, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3} for n in range(3)]
SHORTER = "--search 60", "--search 2"  # seconds
PRELUDE = 'from mldeploy import Client\nclient = Client("http://127.0.0.1:5000")\n'


@dataclass
class Reader:
    """``home`` is the reader's own, if they are on the server; ``wine`` is the name of their model of wine."""

    folder: Path
    url: str
    home: Path | None = None
    key: str = ""
    wine: str = "wine"
    job_id: str = ""

    @property
    def client(self) -> Client:
        return Client(self.url, api_key=self.key)

    def run(self, command: str) -> str:
        """Run it with bash, answer `y` if asked, and return its standard output. Fails if its exit status is not 0."""
        self._write_files(command)
        text = command.replace("mld_…", self.key).replace("<id>", self.job_id).replace(*SHORTER)
        text = re.sub(r"(?<![\w./-])wine(?![\w.])", self.wine, ADDRESS.sub(self.url.removeprefix("http://"), text))
        return self._ended(["bash", "-c", text], command)

    def run_python(self, code: str) -> list[str]:
        """Run it and return the lines that it prints."""
        whole = code if "Client(" in code or "client." not in code else PRELUDE + code
        text = ADDRESS.sub(self.url.removeprefix("http://"), whole).replace('"wine"', f'"{self.wine}"')
        return self._ended([sys.executable, "-c", text], code).splitlines()

    def _ended(self, program: list[str], shown: str) -> str:
        ours, theirs = pty.openpty()  # what is deleted for good is only asked about on a terminal
        os.write(ours, b"y\n")
        try:
            ended = subprocess.run(
                program,
                cwd=self.folder,
                env=self._environment(),
                stdin=theirs,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert ended.returncode == 0, f"{shown}\nexit status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def _environment(self) -> dict[str, str]:
        """Return ours, with which curl is silent, calls no proxy, and fails if the status is 400 or above."""
        (self.folder / ".curlrc").write_text('silent\nshow-error\nfail-with-body\nnoproxy = "*"\n')
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLDEPLOY_")}
        named = {"MLDEPLOY_URL": self.url, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "CURL_HOME": str(self.folder)}
        key = {"MLDEPLOY_API_KEY": self.key} if self.key else {}
        return kept | named | key | ({"HOME": str(self.home)} if self.home else {})

    def _write_files(self, command: str) -> None:
        target = re.search(r"target[= ](\w+)", command)
        table = WINE.rename(columns={"target": target[1] if target else "target"})
        for name in FILE.findall(command):
            path = self.folder / name
            if name.endswith(".json"):
                path.write_text(json.dumps(FLOWERS))
            elif name.endswith(".joblib"):
                features = WINE.drop(columns="target")
                joblib.dump(RandomForestClassifier(n_estimators=10, random_state=0).fit(features, WINE.target), path)
            else:  # other tables have a few rows of this one, and a few of their own
                changed = table[-18:].assign(alcohol=table.alcohol[-18:] + 0.01)
                (table[:160] if name == "wine.csv" else pd.concat([table[:10], changed])).to_csv(path, index=False)
