"""The client: submit, wait, read. It speaks HTTP and imports nothing else of mldeploy."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

URL = "http://127.0.0.1:5000"
LONGEST_POLL = 20.0  # seconds that one request is held
PAUSE = 0.2  # seconds before a read is tried again while the service is away

LONGEST_SWAP = 60.0  # seconds that workers may take to load a version
CONTENT_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}

Row = Mapping[str, Any]
Table = Any  # a path, a CSV's text or bytes, or a data frame


class Problem(Exception):
    """An error answer (RFC 9457). ``errors`` lists what is wrong with the input: pointer and detail."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", "error"))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[dict[str, str]] = list(problem.get("errors", ()))
        super().__init__(self._told())

    def _told(self) -> str:
        lines = [f"{self.title}: {self.detail}" if self.detail and not self.errors else self.title]
        return "\n".join(lines + [f"  {error['pointer'] or '(body)'}: {error['detail']}" for error in self.errors])


class Unavailable(Problem):
    """The queue is full or does not answer; nothing is known to have been accepted. Try again in ``retry_after`` seconds."""

    retry_after: float = 1.0


class JobFailed(Problem):
    """The job ended without a result."""

    def __init__(self, job: "Job") -> None:
        self.job = job
        super().__init__(200, job.error or {"title": f"the job was {job.status}"})


class Job:
    """A job as the service last told of it."""

    def __init__(self, client: "Client", answer: dict[str, Any]) -> None:
        self._client = client
        self.answer = answer

    @property
    def id(self) -> str:
        return str(self.answer["id"])

    @property
    def status(self) -> str:
        return str(self.answer["status"])

    @property
    def done(self) -> bool:
        return self.status not in ("queued", "running")

    @property
    def result(self) -> Any:
        return self.answer.get("result")

    @property
    def progress(self) -> dict[str, Any]:
        """Of a training that runs: done, total, stage."""
        return dict(self.answer.get("progress") or {})

    @property
    def error(self) -> dict[str, Any] | None:
        return self.answer.get("error")

    def reload(self) -> "Job":
        self.answer = self._client._call("GET", self.answer["result_url"])
        return self

    def wait(self, timeout: float | None = None, poll: float = LONGEST_POLL) -> Any:
        """The job's result. Raises JobFailed, or TimeoutError after ``timeout`` seconds; an outage in between is waited out.
        ``poll``: seconds after which it is asked anew, and ``progress`` is of that moment."""
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while not self.done:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {self.id} is still {self.status} after {timeout:g} s")
            self._poll(min(left, poll))
        if self.status != "succeeded":
            raise JobFailed(self)
        return self.result

    def cancel(self) -> "Job":
        """Cancels the job while it is queued; raises Problem once it has started."""
        self.answer = self._client._call("DELETE", self.answer["result_url"])
        return self

    def _poll(self, seconds: float) -> None:
        try:
            self.answer = self._client._call("GET", self.answer["result_url"], params={"wait": f"{seconds:.3f}"}, held=seconds)
        except (Unavailable, requests.ConnectionError, requests.Timeout):
            time.sleep(min(PAUSE, seconds))

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.status}>"


class Client:
    """``timeout``: seconds for an answer, on top of the time that it is held on request."""

    def __init__(self, url: str = URL, timeout: float = 10.0) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/") + "/"
        self._timeout = timeout
        self._session = requests.Session()

    def predict(
        self,
        rows: Row | Sequence[Row] | Any,
        *,
        model: str = "",
        version: str | int = "",
        proba: bool = False,
        drop_extra: bool = False,
    ) -> Job:
        """One measurement (a mapping, or a row of a data frame) or a batch (a sequence of them, or a data frame)."""
        if hasattr(rows, "to_dict"):
            rows = rows.to_dict("records") if hasattr(rows, "columns") else rows.to_dict()
        body = _plain(rows) if isinstance(rows, Mapping) else [_plain(row) for row in rows]
        query = {
            "model": model,
            "version": str(version),
            "proba": "true" if proba else "",
            "extra": "drop" if drop_extra else "",
        }
        return Job(self, self._call("POST", "predict", json=body, params=_given(query)))

    def train(self, table: Table = None, **options: Any) -> Job:
        """Train on a table (a path to CSV, Parquet or NDJSON, a CSV's text, or a data frame), or on the rows that the model has.

        Options: model, dataset, target, weight, task, estimator, params, search, unknown, promote, metric, min_improvement,
        confidence, test_share."""
        if table is None:
            return Job(self, self._call("POST", "train", json=_given(options)))
        data, content_type = _body(table)
        query = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in _given(options).items()}
        return Job(self, self._call("POST", "train", data=data, params=query, headers={"Content-Type": content_type}))

    def add_rows(self, dataset: str, table: Table) -> Job:
        """Add a table's rows to a data set, or make it; those that it has already are skipped."""
        data, content_type = _body(table)
        return Job(self, self._call("POST", f"datasets/{dataset}", data=data, headers={"Content-Type": content_type}))

    def result(self, job_id: str) -> Job:
        return Job(self, self._call("GET", f"result/{job_id}"))

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "models")["models"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        return self._call("GET", f"models/{name}")

    def version(self, name: str, version: str | int = "champion") -> dict[str, Any]:
        """A version's card, by its number or an alias."""
        return self._call("GET", f"models/{name}/versions/{version}")

    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of one measurement."""
        return self._call("GET", f"models/{name}/schema")

    def datasets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "datasets")["datasets"]
        return found

    def dataset(self, name: str) -> dict[str, Any]:
        return self._call("GET", f"datasets/{name}")

    def promote(self, name: str, version: int, *, alias: str = "champion", who: str = "", why: str = "") -> dict[str, Any]:
        """Move an alias; champion serves. The workers load the version first."""
        body = _given({"version": version, "who": who, "why": why})
        return self._call("PUT", f"models/{name}/aliases/{alias}", json=body, held=LONGEST_SWAP)

    def rollback(self, name: str, *, who: str = "", why: str = "") -> dict[str, Any]:
        """Back to the version that was champion before."""
        return self._call("POST", f"models/{name}/rollback", json=_given({"who": who, "why": why}), held=LONGEST_SWAP)

    def ready(self) -> dict[str, Any]:
        return self._call("GET", "health/ready")

    def _call(self, method: str, path: str, held: float = 0.0, **options: Any) -> dict[str, Any]:
        """The answer's JSON; raises Problem."""
        answer = self._session.request(method, urljoin(self.url, path), timeout=self._timeout + held, **options)
        body = _json(answer)
        if answer.status_code in (429, 503):
            problem = Unavailable(answer.status_code, body)
            problem.retry_after = float(answer.headers.get("Retry-After", 1))
            raise problem
        if answer.status_code >= 400:
            raise Problem(answer.status_code, body)
        return body


def _plain(row: Row) -> dict[str, Any]:
    if not hasattr(row, "items"):
        raise TypeError(f"a measurement is a mapping of names to values (or send a data frame), not {type(row).__name__}")
    return {str(name): _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    """NumPy's numbers as Python's, what is missing as null, moments as text."""
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return None if text == "NaT" else text
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in ("", None, {})}


def _body(table: Table) -> tuple[bytes, str]:
    if isinstance(table, str) and "\n" in table:
        return table.encode(), CONTENT_TYPES[".csv"]
    if isinstance(table, str | Path):
        path = Path(table)
        content_type = CONTENT_TYPES.get(path.suffix.lower())
        if content_type is None:
            raise ValueError(f"the format of {path.name} is not known: name it {', '.join(CONTENT_TYPES)}")
        return path.read_bytes(), content_type
    if hasattr(table, "to_csv"):
        named = [name for name in table.index.names if name is not None]
        return str((table.reset_index() if named else table).to_csv(index=False)).encode(), CONTENT_TYPES[".csv"]
    if not isinstance(table, bytes):
        raise TypeError(f"a table is a path, a CSV's text or bytes, or a data frame, not {type(table).__name__}")
    return table, CONTENT_TYPES[".csv"]


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = {"title": f"HTTP {answer.status_code}, and not from mldeploy", "detail": answer.text[:200]}
    return body if isinstance(body, dict) else {"title": "an answer of another form", "detail": str(body)[:200]}
