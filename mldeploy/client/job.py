"""A job that a caller can wait for, follow and cancel."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import requests

from mldeploy.client.events import Event, EventReader, chunks_of
from mldeploy.client.outage import Outage
from mldeploy.client.problems import Problem
from mldeploy.client.transport import Calls, is_transient, never

MAX_POLL = 20.0  # seconds that the service holds one request
RETRY_FOR = 60.0  # seconds that the service may be away in a row while a caller waits for a job
MIN_POLL_INTERVAL = 1.0  # seconds between requests that the service does not hold


class Job:
    """A job as in the service's last response."""

    def __init__(self, calls: Calls, answer: dict[str, Any]) -> None:
        self._calls = calls
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
    def label(self) -> str:
        return str(self.answer.get("label") or "")

    @property
    def position(self) -> int | None:
        """The position in its lane while it is queued; 1 is next."""
        return self.answer.get("position")

    @property
    def canceling(self) -> bool:
        """Whether the job runs and is being stopped."""
        return bool(self.answer.get("canceling"))

    @property
    def result(self) -> Any:
        return self.answer.get("result")

    @property
    def progress(self) -> dict[str, Any]:
        """The progress of a running training: done, total, stage."""
        return dict(self.answer.get("progress") or {})

    @property
    def error(self) -> dict[str, Any] | None:
        return self.answer.get("error")

    def reload(self) -> "Job":
        self.answer = self._calls.json("GET", self.answer["result_url"])
        return self

    def wait(self, timeout: float | None = None, poll: float = MAX_POLL, retry_for: float = RETRY_FOR) -> Any:
        """The job's result. Raises JobFailed, TimeoutError after ``timeout`` seconds, or ServiceAway (a TimeoutError too) when
        the service has been away for ``retry_for`` seconds in a row. ``poll``: seconds between two requests, which
        also update ``progress``."""
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        outage = Outage(self._calls.url, retry_for)
        while not self.done:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"job {self.id} is still {self.status} after {timeout:g} s")
            self._poll(min(remaining, poll), outage)
        if self.status != "succeeded":
            raise JobFailed(self)
        return self.result

    def events(self, retry_for: float = RETRY_FOR) -> Iterator[Event]:
        """Yields the job's events up to its end. A stream that was interrupted is continued. Raises ServiceAway when the service
        has been away for ``retry_for`` seconds in a row."""
        reader, outage, is_complete = EventReader(), Outage(self._calls.url, retry_for), False
        while not is_complete:
            pause = reader.retry
            try:
                with closing(self._calls.stream(self.answer["result_url"], reader.last_id)) as stream:
                    is_complete = stream.status_code == 204  # there are no further events
                    for event in reader.read(chunks_of(stream), outage):
                        self.answer = event.data
                        yield event
                        if self.done:
                            return
            except (Problem, requests.RequestException) as error:
                if not is_transient(error):
                    raise
                pause = outage.pause_after(error)
            if not is_complete:
                time.sleep(pause)

    def cancel(self) -> "Job":
        """Cancels the job: at once while it is queued; one that runs is then ``canceling``, and ``wait`` ends when it has
        stopped. Raises Problem if it has ended otherwise."""
        self.answer = self._calls.json("DELETE", self.answer["result_url"])
        return self

    def _poll(self, seconds: float, outage: Outage) -> None:
        began = time.monotonic()
        try:
            self.answer = self._calls.json(
                "GET", self.answer["result_url"], params={"wait": f"{seconds:.3f}"}, held=seconds, retry_if=never
            )
        except (Problem, requests.RequestException) as error:
            if not is_transient(error):
                raise
            time.sleep(min(outage.pause_after(error), seconds))
            return
        outage.end()
        held = time.monotonic() - began
        if not self.done and held < seconds / 2:  # a service at its limit of held requests responds at once
            time.sleep(min(MIN_POLL_INTERVAL, seconds - held))

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.status}>"


class JobFailed(Problem):
    """The job ended without a result."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(200, job.error or {"title": f"the job was {job.status}"})
