"""The client of the service's HTTP API."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from mldeploy.client.job import Job
from mldeploy.client.payload import Rows, Table, measurements, prediction_body, table_body, without_empty
from mldeploy.client.problems import Unavailable
from mldeploy.client.transport import Calls, never, not_sent

URL = "http://127.0.0.1:5000"
MAX_ROLLOUT = 60.0  # seconds, added to the time-out, for the workers to load a version
PAGE_SIZE = 500  # jobs in one request
MAX_IDS = 100  # in one request


class Client:
    """``timeout``: seconds for a response, in addition to the time that the service holds it on request. ``api_key``: as printed
    by ``mldeploy keys create``.

    Transient failures (connections, 429, 503) are retried for ``retry_for`` seconds, as often as the service allows; 0 disables
    that. A submission has an Idempotency-Key, so it makes one job even if it is sent repeatedly. Moves of aliases are retried
    only if they never reached the service.

    ``on_upload(sent, total)`` is called with the number of bytes of a table that have been sent and with its size.

    Each submission takes: ``label``, a name to find the job by; ``expires_in``, seconds after which the job is not started any
    more; ``webhook``, a URL that is called at the job's end; ``idempotency_key``, instead of a random one; ``traceparent``."""

    def __init__(
        self,
        url: str = URL,
        timeout: float = 10.0,
        api_key: str = "",
        retry_for: float = 30.0,
        on_upload: Callable[[int, int], None] | None = None,
    ) -> None:
        self._calls = Calls(url, timeout, api_key, retry_for, on_upload)
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
        table = prediction_body(rows)
        if table:
            return self._submit("predict", query, idempotency_key, traceparent, table[1], data=table[0])
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
        confidence, test_share, group, time, beta, top_k, quantile, threshold."""
        query = {"label": label, "expires_in": expires_in, "webhook": webhook}
        if table is None:
            return self._submit("train", query, idempotency_key, traceparent, json=without_empty(options))
        data, content_type = table_body(table)
        query |= {name: json.dumps(value) if isinstance(value, dict) else value for name, value in without_empty(options).items()}
        return self._submit("train", query, idempotency_key, traceparent, content_type, data=data)

    def add_rows(
        self,
        dataset: str,
        table: Table,
        *,
        key: str | Sequence[str] = (),
        dedupe: bool = False,
        again: bool = False,
        label: str = "",
        expires_in: float | None = None,
        webhook: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
    ) -> Job:
        """Add a table's rows to a data set, or create it. Every row counts; a table that was added before is left out as a whole,
        unless ``again``. ``key``: one or more columns by which rows are unique from now on, the last one counts. ``dedupe``:
        leave out rows that are like stored ones."""
        data, content_type = table_body(table)
        columns = [key] if isinstance(key, str) and key else list(key)
        query = {
            "key": json.dumps(columns) if columns else "",
            "dedupe": "true" if dedupe else "",
            "again": "true" if again else "",
            "label": label,
            "expires_in": expires_in,
            "webhook": webhook,
        }
        return self._submit(f"datasets/{path_segment(dataset)}", query, idempotency_key, traceparent, content_type, data=data)

    def result(self, job_id: str) -> Job:
        return Job(self._calls, self._get(f"result/{path_segment(job_id)}"))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job by its id; see ``Job.cancel``."""
        return Job(self._calls, self._calls.json("DELETE", f"result/{path_segment(job_id)}"))

    def results(self, ids: Sequence[str]) -> list[Job | None]:
        """Many jobs, in the order of ``ids``; None for one that does not exist or has been forgotten."""
        found = dict[str, Job]()
        for start in range(0, len(ids), MAX_IDS):
            page = self._get("jobs", id=",".join(ids[start : start + MAX_IDS]))["jobs"]
            found |= {fields["id"]: self._whole(Job(self._calls, fields)) for fields in page}
        return [found.get(job_id) for job_id in ids]

    def jobs(
        self, *, status: str = "", kind: str = "", model: str = "", label: str = "", limit: int | None = None
    ) -> Iterator[Job]:
        """All jobs, or at most ``limit``, newest first and without their results."""
        query, cursor, remaining = {"status": status, "kind": kind, "model": model, "label": label}, "", limit
        while remaining is None or remaining > 0:
            page = self._get("jobs", **query, cursor=cursor, limit=PAGE_SIZE if remaining is None else min(remaining, PAGE_SIZE))
            yield from (Job(self._calls, fields) for fields in page["jobs"])
            remaining = None if remaining is None else remaining - len(page["jobs"])
            cursor = page["cursor"]
            if cursor is None:
                return

    def webhook_secret(self) -> str:
        """The secret that signs this key's webhooks (Standard Webhooks)."""
        return str(self._get("webhook-secret")["secret"])

    def rotate_webhook_secret(self) -> str:
        """Create a new secret. The old one signs too for a day."""
        return str(self._calls.json("POST", "webhook-secret", retry_if=not_sent)["secret"])

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("models")["models"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        return self._get(f"models/{path_segment(name)}")

    def version(self, name: str, version: str | int = "champion") -> dict[str, Any]:
        """A version's card, by its number or an alias."""
        return self._get(f"models/{path_segment(name)}/versions/{path_segment(version)}")

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON Schema of one measurement."""
        return self._get(f"models/{path_segment(name)}/schema")

    def datasets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("datasets")["datasets"]
        return found

    def dataset(self, name: str) -> dict[str, Any]:
        return self._get(f"datasets/{path_segment(name)}")

    def promote(self, name: str, version: int, *, alias: str = "champion", who: str = "", why: str = "") -> dict[str, Any]:
        """Move an alias; the champion serves. The workers load the version first."""
        body = without_empty({"version": version, "who": who, "why": why})
        return self._calls.json(
            "PUT", f"models/{path_segment(name)}/aliases/{path_segment(alias)}", json=body, held=MAX_ROLLOUT, retry_if=not_sent
        )

    def rollback(self, name: str, *, who: str = "", why: str = "") -> dict[str, Any]:
        """Make the previous champion serve again."""
        body = without_empty({"who": who, "why": why})
        return self._calls.json("POST", f"models/{path_segment(name)}/rollback", json=body, held=MAX_ROLLOUT, retry_if=not_sent)

    def ready(self) -> dict[str, Any]:
        """``status`` is ``ready``, ``degraded`` or ``not-ready``, and ``reasons`` says why and what to do. Not retried. Raises
        Unavailable if something other than the service responds that it is away."""
        try:
            return self._calls.json("GET", "health/ready", retry_if=never)
        except Unavailable as error:
            if "reasons" not in error.body:
                raise
            return error.body

    def _whole(self, job: Job) -> Job:
        """The job with its result, which is left out of a response that would be too large."""
        return job.reload() if job.status == "succeeded" and "result" not in job.answer else job

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._calls.json("GET", path, params=without_empty(query))

    def _submit(
        self, path: str, query: dict[str, Any], idempotency_key: str, traceparent: str, content_type: str = "", **body: Any
    ) -> Job:
        headers = {
            "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
            "traceparent": traceparent,
            "Content-Type": content_type,
        }
        return Job(
            self._calls, self._calls.json("POST", path, params=without_empty(query), headers=without_empty(headers), **body)
        )


def path_segment(name: str | int) -> str:
    """Quotes a name so that it is a single segment of a path."""
    return quote(str(name), safe="")
