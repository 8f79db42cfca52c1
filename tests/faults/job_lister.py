"""Lists the jobs of a running service, so that two jobs of one submission are seen before they are forgotten."""

import threading
from collections import defaultdict

from mldeploy.client import Client, Problem

PERIOD = 5.0  # seconds
KNOWN_IN_A_ROW = 500  # a job accepted late, by another API process or after an outage, is listed below known ones


class JobLister:
    """``ids``: job ids by label. Use as a context manager."""

    def __init__(self, url: str, model: str) -> None:
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self._known = set[str]()
        self._client = Client(url, retry_for=0.0)
        self._model = model
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._list_all, daemon=True)

    def __enter__(self) -> "JobLister":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def list(self) -> None:
        """List all jobs newer than the known ones. Raises Problem or OSError, and then knows no more than before."""
        fresh, known = list[tuple[str, str]](), 0
        for job in self._client.jobs(model=self._model):
            known = known + 1 if job.id in self._known else 0
            if known > KNOWN_IN_A_ROW:
                break
            if not known:
                fresh.append((job.label, job.id))
        for label, job_id in fresh:
            self.ids[label].add(job_id)
            self._known.add(job_id)

    @property
    def doubled(self) -> dict[str, set[str]]:
        return {label: ids for label, ids in self.ids.items() if label and len(ids) > 1}

    def _list_all(self) -> None:
        while not self._over.wait(PERIOD):
            try:
                self.list()
            except (Problem, OSError):  # the API or Redis is away: listed next time
                continue
