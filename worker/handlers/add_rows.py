"""Adds rows to a data set: checks and stores them, and updates the record in the step that ends the job."""

import logging

from msgspec import json

from jobs.errors import ChangesRejected, NoRoom
from jobs.job import Claim, ClaimedJob, Outcome, State
from modeler import additions, table
from modeler.dataset_parts import LostRows, source_of
from modeler.errors import BadTrainingData
from models.datasets import DatasetRecord, Datasets, Found, unscoped_name
from models.options import AddTask
from models.reading import TableReport
from models.results import Added
from models.store import Store
from worker.failure_messages import describe, failed
from worker.process import Finish
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")

MAX_TRIES = 50  # while other jobs change the data set


class TooManyDatasets(RuntimeError):
    """The caller has reached the limit of data sets."""


class AddRowsHandler:
    def __init__(self, datasets: Datasets, store: Store, limit: float, max_datasets: int) -> None:
        """``limit``: seconds for one job; ``max_datasets``: for one caller."""
        self._datasets = datasets
        self._store = store
        self._limit = limit
        self._max_datasets = max_datasets

    def handle(self, claim: Claim, task: AddTask, finish: Finish) -> None:
        """Repeats the check against the new data set if it changes meanwhile."""
        job = claim.jobs[0]
        for _ in range(MAX_TRIES):
            found = self._datasets.find(task.dataset)
            outcome, record = self._try_to_add(found, task, job)
            changes = self._datasets.changes(found, record) if record and record != found.record else []
            try:
                finish([outcome], changes)
                return
            except ChangesRejected:
                continue
            except NoRoom as error:
                finish([failed(job, "adding-failed", f"{error}. The data set is as it was.")], ())
                return
        finish([failed(job, "adding-failed", f"{unscoped_name(task.dataset)} kept changing: send the rows again")], ())

    def _try_to_add(self, found: Found, task: AddTask, job: ClaimedJob) -> tuple[Outcome, DatasetRecord | None]:
        try:
            with time_limit(self._limit):
                record, added = self._add(found, task, job.payload)
        except TimeLimit:
            return failed(job, "time-limit", f"it took longer than {self._limit:g} s"), None
        except Exception as error:  # noqa: BLE001 - whatever a library raises on a table fails its own job
            return _failure(job, error), None
        return Outcome(job, State.SUCCEEDED, json.encode(added)), record

    def _add(self, found: Found, task: AddTask, payload: bytes) -> tuple[DatasetRecord | None, Added | TableReport]:
        record, source = found.record, source_of(payload)
        reading = task.reading.over(record.reading if record else None)
        sent = table.read(payload, task.format, record.types if record else None, reading)
        if task.look:
            return None, sent.report
        if record:
            return additions.add(self._store, record, task, sent, source)
        if not self._datasets.has_room(task.dataset, self._max_datasets):  # others were created since the job was accepted
            raise TooManyDatasets(f"there are as many data sets as may be: {self._max_datasets}")
        return additions.create(self._store, task, sent, source)


def _failure(job: ClaimedJob, error: Exception) -> Outcome:
    if isinstance(error, BadTrainingData):
        return failed(job, "bad-training-data", str(error))
    if isinstance(error, TooManyDatasets):
        return failed(job, "adding-failed", str(error))
    if isinstance(error, MemoryError):
        return failed(job, "out-of-memory", "there was not enough memory")
    if isinstance(error, OSError | LostRows):
        return failed(job, "store-failed", f"{describe(error)}. The data set is as it was.")
    log.error("rows could not be added", exc_info=error)
    return failed(job, "adding-failed", describe(error))
