"""The service, as one who calls it sees it."""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mldeploy.client.job import Job
from mldeploy.client.payload import Rows, Table, given, measurements, table_body
from mldeploy.client.problems import Unavailable
from mldeploy.client.transport import Calls, never, refused

URL = "http://127.0.0.1:5000"
MAX_SWAP = 60.0  # seconds that workers may take to load a version
PAGE = 500  # jobs
MANY = 100  # ids in one read


class Client:
    """``timeout``: seconds for an answer, on top of the time that it is held on request. ``api_key``: as ``mldeploy keys create``
    tells it.

    What fails in passing (connections, 429, 503) is tried again for ``retry_for`` seconds, as often as the service allows; 0
    switches that off. A submission carries an Idempotency-Key, so it makes one job however often it is sent. Moves of aliases
    are sent again only if they never reached the service.

    Each submission takes: ``label``, to find the job by; ``expires_in``, seconds after which it is not started any more;
    ``webhook``, a URL that is told of the job's end; an ``idempotency_key`` of one's own; ``traceparent``."""

    def __init__(self, url: str = URL, timeout: float = 10.0, api_key: str = "", retry_for: float = 30.0) -> None:
        self._calls = Calls(url, timeout, api_key, retry_for)
        self.url = self._calls.url

    def predict(
        self,
        rows: Rows,
        *,
        model: str = "",
        version: str | int = "",
        proba: bool = False,
        drop_extra: bool = False,
        label: str = "",
        expires_in: float | None = None,
        webhook: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
    ) -> Job:
        """One measurement (a mapping, or a row of a data frame), a batch (a sequence of them, or a data frame), or a file of them
        (a path to CSV, Parquet or NDJSON)."""
        query = {
            "model": model,
            "version": str(version),
            "proba": "true" if proba else "",
            "extra": "drop" if drop_extra else "",
            "label": label,
            "expires_in": expires_in,
            "webhook": webhook,
        }
        if isinstance(rows, str | Path):
            data, content_type = table_body(rows)
            return self._submit("predict", query, idempotency_key, traceparent, content_type, data=data)
        return self._submit("predict", query, idempotency_key, traceparent, json=measurements(rows))

    def train(
        self,
        table: Table = None,
        *,
        label: str = "",
        expires_in: float | None = None,
        webhook: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        **options: Any,
    ) -> Job:
        """Train on a table (a path to CSV, Parquet or NDJSON, a CSV's text, or a data frame), or on the rows that the model has.

        Options: model, dataset, target, weight, task, estimator, params, search, unknown, promote, metric, min_improvement,
        confidence, test_share."""
        query = {"label": label, "expires_in": expires_in, "webhook": webhook}
        if table is None:
            return self._submit("train", query, idempotency_key, traceparent, json=given(options))
        data, content_type = table_body(table)
        query |= {name: json.dumps(value) if isinstance(value, dict) else value for name, value in given(options).items()}
        return self._submit("train", query, idempotency_key, traceparent, content_type, data=data)

    def add_rows(
        self,
        dataset: str,
        table: Table,
        *,
        label: str = "",
        expires_in: float | None = None,
        webhook: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
    ) -> Job:
        """Add a table's rows to a data set, or make it; those that it has already are skipped."""
        data, content_type = table_body(table)
        query = {"label": label, "expires_in": expires_in, "webhook": webhook}
        return self._submit(f"datasets/{part(dataset)}", query, idempotency_key, traceparent, content_type, data=data)

    def result(self, job_id: str) -> Job:
        return Job(self._calls, self._get(f"result/{part(job_id)}"))

    def cancel(self, job_id: str) -> Job:
        """As ``Job.cancel``, of a job that is known by its id."""
        return Job(self._calls, self._calls.json("DELETE", f"result/{part(job_id)}"))

    def results(self, ids: Sequence[str]) -> list[Job | None]:
        """Many jobs, in the order asked; None for one that never was or has been forgotten."""
        found = dict[str, Job]()
        for start in range(0, len(ids), MANY):
            answers = self._get("jobs", id=",".join(ids[start : start + MANY]))["jobs"]
            found |= {answer["id"]: self._whole(Job(self._calls, answer)) for answer in answers}
        return [found.get(job_id) for job_id in ids]

    def jobs(
        self, *, status: str = "", kind: str = "", model: str = "", label: str = "", limit: int | None = None
    ) -> Iterator[Job]:
        """The jobs there are, without their results, newest first: all of them, or ``limit`` at most."""
        query, cursor, left = {"status": status, "kind": kind, "model": model, "label": label}, "", limit
        while left is None or left > 0:
            page = self._get("jobs", **query, cursor=cursor, limit=PAGE if left is None else min(left, PAGE))
            yield from (Job(self._calls, answer) for answer in page["jobs"])
            left = None if left is None else left - len(page["jobs"])
            cursor = page["cursor"]
            if cursor is None:
                return

    def webhook_secret(self) -> str:
        """With which this key's webhooks are signed (Standard Webhooks)."""
        return str(self._get("webhook-secret")["secret"])

    def rotate_webhook_secret(self) -> str:
        """A new one; for a day webhooks are signed with the old one too."""
        return str(self._calls.json("POST", "webhook-secret", again=refused)["secret"])

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("models")["models"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        return self._get(f"models/{part(name)}")

    def version(self, name: str, version: str | int = "champion") -> dict[str, Any]:
        """A version's card, by its number or an alias."""
        return self._get(f"models/{part(name)}/versions/{part(version)}")

    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of one measurement."""
        return self._get(f"models/{part(name)}/schema")

    def datasets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("datasets")["datasets"]
        return found

    def dataset(self, name: str) -> dict[str, Any]:
        return self._get(f"datasets/{part(name)}")

    def promote(self, name: str, version: int, *, alias: str = "champion", who: str = "", why: str = "") -> dict[str, Any]:
        """Move an alias; champion serves. The workers load the version first."""
        body = given({"version": version, "who": who, "why": why})
        return self._calls.json("PUT", f"models/{part(name)}/aliases/{part(alias)}", json=body, held=MAX_SWAP, again=refused)

    def rollback(self, name: str, *, who: str = "", why: str = "") -> dict[str, Any]:
        """Back to the version that was champion before."""
        body = given({"who": who, "why": why})
        return self._calls.json("POST", f"models/{part(name)}/rollback", json=body, held=MAX_SWAP, again=refused)

    def ready(self) -> dict[str, Any]:
        """``status`` is ``ready``, ``degraded`` or ``not-ready``, and ``reasons`` says why and what to do; asked once. Raises
        Unavailable if something else than the service answers that it is away."""
        try:
            return self._calls.json("GET", "health/ready", again=never)
        except Unavailable as error:
            if "reasons" not in error.body:
                raise
            return error.body

    def _whole(self, job: Job) -> Job:
        """With its result, which is left out of an answer that would become too large."""
        return job.reload() if job.status == "succeeded" and "result" not in job.answer else job

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._calls.json("GET", path, params=given(query))

    def _submit(
        self, path: str, query: dict[str, Any], idempotency_key: str, traceparent: str, content_type: str = "", **body: Any
    ) -> Job:
        headers = {
            "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
            "traceparent": traceparent,
            "Content-Type": content_type,
        }
        return Job(self._calls, self._calls.json("POST", path, params=given(query), headers=given(headers), **body))


def part(name: str | int) -> str:
    """Of a path: whatever it is, it stays one part."""
    return quote(str(name), safe="")
